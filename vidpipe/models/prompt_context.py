"""What prompts see of a video besides its frames, and how untrusted text in it is cleaned for templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby

from vidpipe.models.sampling import sample_within_budget
from vidpipe.models.sanitize import quote
from vidpipe.text.phrases import duration_in_words

#: Characters of a title, of one subtitle and of the description of one scene.
_TITLE, _SUBTITLE, _SAID = 200, 200, 400
#: Characters of all subtitles and of all descriptions of scenes, and how many of them at most.
_SUBTITLES_IN_ALL, _SAID_IN_ALL = 3_000, 8_000
_MAX_SUBTITLES, _MAX_SCENES = 150, 100


@dataclass(frozen=True)
class SceneView:
    """What is known of one scene.

    Attributes:
        index: Number of the scene, from 0.
        start_s: Its start, in seconds from the first frame.
        end_s: Its end.
        subtitles: What is spoken or shown in it, one line per cue.
        said: How the model described it; "" before it was asked.
    """

    index: int
    start_s: float
    end_s: float
    subtitles: Sequence[str] = ()
    said: str = ""


@dataclass(frozen=True)
class VideoView:
    """What is known of one video.

    Attributes:
        duration_s: Its duration, in seconds.
        title: The title in the file; "" if it has none.
        resolution: Name of the resolution, such as "Full HD".
        orientation: landscape, portrait or square.
        width: Displayed width, in pixels.
        height: Displayed height, in pixels.
        has_sound: Whether there is an audio stream.
        subtitles: Of the whole video, one line per cue.
        scenes: Its scenes, in order.
    """

    duration_s: float
    title: str = ""
    resolution: str = ""
    orientation: str = ""
    width: int = 0
    height: int = 0
    has_sound: bool = False
    subtitles: Sequence[str] = ()
    scenes: Sequence[SceneView] = ()


@dataclass(frozen=True)
class TemplateVideo:
    """The variable `video` of templates. Untrusted texts are in quotation marks; "" if there are none.

    Attributes:
        title: The title in the file.
        duration: Duration in words.
        duration_s: Duration in seconds.
        size: "1920x1080".
        resolution: "Full HD".
        orientation: landscape, portrait or square.
        has_sound: Whether there is an audio stream.
        subtitles: An even sample over the whole video; empty in prompts about a scene.
        subtitle_count: Number of subtitles from which they were sampled.
        scene_count: 0 in prompts about a scene, so that they do not change with the other scenes.
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
class TemplateScene:
    """The variable `scene`, and each of `scenes`, of templates.

    Attributes:
        start: Start as on a clock.
        end: End as on a clock.
        start_s: Start, in seconds.
        end_s: End, in seconds.
        duration: Duration in words.
        said: How the model described it before, in quotation marks, or "".
        subtitles: A sample of its subtitles.
        subtitle_count: Number of subtitles from which they were sampled.
    """

    start: str
    end: str
    start_s: float
    end_s: float
    duration: str
    said: str
    subtitles: Sequence[str]
    subtitle_count: int


def template_video(video: VideoView, scene: SceneView | None) -> TemplateVideo:
    """Return `video` for the templates of prompts about it, or about its scene `scene`."""
    subtitles = _subtitles(video.subtitles) if scene is None else []
    return TemplateVideo(
        title=quote(video.title, _TITLE),
        duration=duration_in_words(video.duration_s),
        duration_s=round(video.duration_s, 3),
        size=f"{video.width}x{video.height}" if video.width and video.height else "",
        resolution=video.resolution,
        orientation=video.orientation,
        has_sound=video.has_sound,
        subtitles=subtitles,
        subtitle_count=len(video.subtitles) if scene is None else 0,
        scene_count=len(video.scenes) if scene is None else 0,
    )


def template_scene(scene: SceneView) -> TemplateScene:
    """Return one scene with its subtitles for templates."""
    return TemplateScene(
        start=clock(scene.start_s),
        end=clock(scene.end_s),
        start_s=round(scene.start_s, 3),
        end_s=round(scene.end_s, 3),
        duration=duration_in_words(scene.end_s - scene.start_s),
        said=quote(scene.said, _SAID),
        subtitles=_subtitles(scene.subtitles),
        subtitle_count=len(scene.subtitles),
    )


def template_scenes(scenes: Sequence[SceneView]) -> list[TemplateScene]:
    """Return the scenes of a whole video, without subtitles; an even sample of them if there are too many."""
    few = sample_within_budget(scenes, _MAX_SCENES, _SAID_IN_ALL, lambda scene: min(len(scene.said), _SAID))
    return [template_scene(SceneView(scene.index, scene.start_s, scene.end_s, (), scene.said)) for scene in few]


def _subtitles(lines: Sequence[str]) -> list[str]:
    """Sample subtitles. Lines repeated at once count once: many formats repeat what is still on the screen."""
    few = sample_within_budget(lines, _MAX_SUBTITLES, _SUBTITLES_IN_ALL, lambda line: len(quote(line, _SUBTITLE)))
    return [line for line, _ in groupby(quote(line, _SUBTITLE) for line in few) if line]


def clock(seconds: float) -> str:
    """Return a time as on a clock: 0:07.5, 12:31.0, 1:02:03."""
    tenths = round(seconds * 10)
    hours, minutes, rest = tenths // 36_000, tenths // 600 % 60, tenths % 600
    if hours:
        return f"{hours}:{minutes:02d}:{rest // 10:02d}"
    return f"{minutes}:{rest // 10:02d}.{rest % 10}"


#: Variable of a template -> its fields.
TEMPLATE_FIELDS = {
    "video": tuple(field.name for field in fields(TemplateVideo)),
    "scene": tuple(field.name for field in fields(TemplateScene)),
}

_RICH_SCENES = (
    SceneView(0, 0.0, 4.5, ("Good evening.", "Here is the news."), "A woman sits at a desk in a studio."),
    SceneView(1, 4.5, 12.0, ("It rained all day.",), "A street in the rain."),
)
_RICH = VideoView(
    12.0, "Evening news", "HD", "landscape", 1280, 720, True, ("Good evening.", "It rained all day."), _RICH_SCENES
)
_BARE_SCENE = SceneView(0, 0.0, 0.5)
_BARE = VideoView(0.5, scenes=(_BARE_SCENE,))

#: (video, one of its scenes) for which every template is rendered before a run: one with everything, one with nothing.
SAMPLE_VIEWS = ((_RICH, _RICH_SCENES[0]), (_BARE, _BARE_SCENE))
