"""Two videos that every template is rendered for before a run: one with everything, one with nothing."""

from __future__ import annotations

from vidpipe.vlm.views import SceneView, VideoView

_RICH_SCENES = (
    SceneView(0, 0.0, 4.5, ("Good evening.", "Here is the news."), "A woman sits at a desk in a studio."),
    SceneView(1, 4.5, 12.0, ("It rained all day.",), "A street in the rain."),
)
_RICH = VideoView(
    12.0, "Evening news", "HD", "landscape", 1280, 720, True, ("Good evening.", "It rained all day."), _RICH_SCENES
)
_BARE_SCENE = SceneView(0, 0.0, 0.5)
_BARE = VideoView(0.5, scenes=(_BARE_SCENE,))

#: (video, its scene)
SAMPLES = ((_RICH, _RICH_SCENES[0]), (_BARE, _BARE_SCENE))
