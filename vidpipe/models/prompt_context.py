"""What prompts see of a video besides its frames: plain data, some of it written by strangers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import dataclass, fields
from itertools import groupby
from vidpipe.vlm import wording
from vidpipe.vlm.plain_text import quoted, thinned



@dataclass(frozen=True)
class SceneView:
    """One scene. start_s, end_s: seconds from the first frame.

    subtitles: what is spoken or shown in it, a line a cue
    said:      what the model said of it; "" before it was asked
    """

    index: int
    start_s: float
    end_s: float
    subtitles: Sequence[str] = ()
    said: str = ""


@dataclass(frozen=True)
class VideoView:
    """One video. title: the one in the file, "" where it has none; subtitles: of the whole video, a line a cue."""

    duration_s: float
    title: str = ""
    resolution: str = ""
    orientation: str = ""
    width: int = 0
    height: int = 0
    has_sound: bool = False
    subtitles: Sequence[str] = ()
    scenes: Sequence[SceneView] = ()


# DOC """What templates see of a video: the views with every text of a stranger cleaned, quoted and limited."""
# 


#: Characters of a title, of one subtitle and of what was said of one scene.
_TITLE, _SUBTITLE, _SAID = 200, 200, 400
#: Characters of all subtitles and of all that was said of scenes, and how many of them at most.
_SUBTITLES_IN_ALL, _SAID_IN_ALL = 3_000, 8_000
_MOST_SUBTITLES, _MOST_SCENES = 150, 100


@dataclass(frozen=True)
class ShownVideo:
    """The video. Texts of strangers are in quotation marks already; "" where there are none.

    duration:       in words; duration_s: in seconds
    size:           "1920x1080"; resolution: "Full HD"
    subtitles:      of the whole video, spread evenly over it; empty in prompts about a scene
    subtitle_count: of how many they were chosen
    scene_count:    0 in prompts about a scene, so that a cut elsewhere changes none of them
    """

    title: str
    duration: str
    duration_s: float
    size: str
    resolution: str
    orientation: str
    has_sound: bool
    subtitles: Sequence[str]
    subtitle_count: int
    scene_count: int


@dataclass(frozen=True)
class ShownScene:
    """One scene. start, end: as on a clock; said: what the model said of it before, in quotation marks, or ""."""

    start: str
    end: str
    start_s: float
    end_s: float
    duration: str
    said: str
    subtitles: Sequence[str]
    subtitle_count: int


def shown_video(video: VideoView, scene: SceneView | None) -> ShownVideo:
    """`video` as prompts see it; with `scene`, as prompts about that scene do."""
    subtitles = _subtitles(video.subtitles) if scene is None else []
    return ShownVideo(
        title=quoted(video.title, _TITLE),
        duration=wording.duration(video.duration_s),
        duration_s=round(video.duration_s, 3),
        size=f"{video.width}x{video.height}" if video.width and video.height else "",
        resolution=video.resolution,
        orientation=video.orientation,
        has_sound=video.has_sound,
        subtitles=subtitles,
        subtitle_count=len(video.subtitles) if scene is None else 0,
        scene_count=len(video.scenes) if scene is None else 0,
    )


def shown_scene(scene: SceneView) -> ShownScene:
    """One scene, with its subtitles."""
    return ShownScene(
        start=clock(scene.start_s),
        end=clock(scene.end_s),
        start_s=round(scene.start_s, 3),
        end_s=round(scene.end_s, 3),
        duration=wording.duration(scene.end_s - scene.start_s),
        said=quoted(scene.said, _SAID),
        subtitles=_subtitles(scene.subtitles),
        subtitle_count=len(scene.subtitles),
    )


def shown_scenes(scenes: Sequence[SceneView]) -> list[ShownScene]:
    """Scenes of a whole video, spread evenly over it where they are many or much was said; without their subtitles."""
    few = thinned(scenes, _MOST_SCENES, _SAID_IN_ALL, lambda scene: min(len(scene.said), _SAID))
    return [shown_scene(SceneView(scene.index, scene.start_s, scene.end_s, (), scene.said)) for scene in few]


def _subtitles(lines: Sequence[str]) -> list[str]:
    """A line that is said again at once is one line; many formats repeat what is still on the screen."""
    few = thinned(lines, _MOST_SUBTITLES, _SUBTITLES_IN_ALL, lambda line: len(quoted(line, _SUBTITLE)))
    return [line for line, _ in groupby(quoted(line, _SUBTITLE) for line in few) if line]


def clock(seconds: float) -> str:
    """0:07.5, 12:31.0, 1:02:03."""
    tenths = round(seconds * 10)
    hours, minutes, rest = tenths // 36_000, tenths // 600 % 60, tenths % 600
    if hours:
        return f"{hours}:{minutes:02d}:{rest // 10:02d}"
    return f"{minutes}:{rest // 10:02d}.{rest % 10}"


#: variable of a template -> what may follow its dot
SHOWN_FIELDS = {
    "video": tuple(field.name for field in fields(ShownVideo)),
    "scene": tuple(field.name for field in fields(ShownScene)),
}


# DOC """Two videos that every template is rendered for before a run: one with everything, one with nothing."""
# 


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
