"""A video as prompts see it, made of what the stages before found."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from vidpipe.media.facts import Scene, SubtitleCue
from vidpipe.vlm.views import SceneView, VideoView
from collections.abc import Sequence
from dataclasses import dataclass
from vidpipe.media.facts import PackReference
from vidpipe.media.frame_pack import FramePack
from vidpipe.settings import Settings
from vidpipe.vlm.model import Frame



#: The fields of other stages that a view is made of.
READS: tuple[str, ...] = (
    "metadata.audio", "metadata.cues", "metadata.height", "metadata.orientation", "metadata.resolution",
    "metadata.title", "metadata.width", "scenes.duration_s", "scenes.scenes",
)  # fmt: skip


def video_view(fields: Mapping[str, Any]) -> VideoView:
    """fields: "stage.field" -> value, at least those in `READS`."""
    scenes: Sequence[Scene] = fields["scenes.scenes"]
    cues = _cues(fields["metadata.cues"])
    return VideoView(
        duration_s=fields["scenes.duration_s"],
        title=fields["metadata.title"] or "",
        resolution=fields["metadata.resolution"],
        orientation=fields["metadata.orientation"],
        width=fields["metadata.width"],
        height=fields["metadata.height"],
        has_sound=bool(fields["metadata.audio"]),
        subtitles=_lines(cues),
        scenes=tuple(
            SceneView(scene.index, scene.start_s, scene.end_s, _lines(spoken))
            for scene, spoken in zip(scenes, _by_scene(scenes, cues), strict=True)
        ),
    )


def with_said(view: VideoView, said: Mapping[int, str]) -> VideoView:
    """`view`, with what the model said of its scenes, by their index."""
    scenes = tuple(replace(scene, said=said.get(scene.index, "")) for scene in view.scenes)
    return replace(view, scenes=scenes)


def _cues(cues: Sequence[SubtitleCue]) -> list[SubtitleCue]:
    """Of the first stream that has any, in order of time: the same words in another language say nothing new."""
    first = min((cue.stream for cue in cues), default=None)
    return sorted((cue for cue in cues if cue.stream == first), key=lambda cue: cue.start_s)


def _lines(cues: Sequence[SubtitleCue]) -> tuple[str, ...]:
    """Their texts, a repeated one once: rolling captions say a line until it has scrolled away."""
    return tuple(text for text, _ in itertools.groupby(cue.text for cue in cues))


def _by_scene(scenes: Sequence[Scene], cues: Sequence[SubtitleCue]) -> list[list[SubtitleCue]]:
    """The cues that are to be seen in each scene; one over a cut belongs to both sides."""
    starts = [scene.start_s for scene in scenes]
    spoken: list[list[SubtitleCue]] = [[] for _ in scenes]
    for cue in cues:
        first = max(bisect.bisect_right(starts, cue.start_s) - 1, 0)
        end = max(bisect.bisect_left(starts, cue.end_s), first + 1)
        for place in range(first, min(end, len(scenes))):
            spoken[place].append(cue)
    return spoken


# DOC """The frames of a video's pack as a describing model asks for them."""
# 


@dataclass(frozen=True)
class PackFrames:
    """The frames of one scene, or with `scene` None of the whole video; nothing is read before `load`.

    version: names these frames
    """

    settings: Settings
    pack: PackReference
    version: str
    scene: int | None = None

    def load(self) -> Sequence[Frame]:
        """Raises MediaError where the pack is missing or damaged."""
        pack = FramePack.open(self.settings, self.pack)
        chosen = pack if self.scene is None else pack.of_scene(self.scene)
        return [Frame(frame.time_s, jpeg) for frame, jpeg in chosen]
