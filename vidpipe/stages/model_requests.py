"""What is asked of the describing model about a video: requests with prompts, facts and frames."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidpipe.media.facts import PackReference, Scene, SubtitleCue, SubtitleStream
from vidpipe.models.describing_model import Frame, MeasuredFacts, ModelRequest
from vidpipe.models.prompts import Prompt, PromptSet, SceneView, VideoView
from vidpipe.stages.analyses.declaration import found_texts
from vidpipe.stages.contract import Item, StageContext
from vidpipe.stages.findings import by_scene, findings, findings_by_scene
from vidpipe.stages.search_fields import Moment
from vidpipe.storage.media_files import MediaFiles


@dataclass(frozen=True)
class PackFrames:
    """Frames in a video's pack; nothing is read before `load`.

    Attributes:
        files: The library's files.
        video: The video.
        pack: Its frame pack.
        version: Identifies these frames.
        scene: Index of their scene; None for the whole video.
    """

    files: MediaFiles
    video: str
    pack: PackReference
    version: str
    scene: int | None = None

    def load(self) -> Sequence[Frame]:
        """Read the frames. Raises MediaError if the pack is missing or damaged, and StoreError."""
        pack = self.files.pack(self.video, self.pack)
        chosen = pack if self.scene is None else pack.of_scene(self.scene)
        return [Frame(frame.time_s, jpeg) for frame, jpeg in chosen]


def video_view(fields: Mapping[str, Any], resources: Mapping[str, Any]) -> VideoView:
    """Return what prompts see of a video.

    Args:
        fields: "stage.field" -> value, at least those in `vidpipe.stages.descriptions.READS`.
        resources: The resources of the stage.
    """
    scenes: Sequence[Scene] = fields["scenes.scenes"]
    cues = _cues(fields["metadata.cues"])
    found = found_texts(resources, fields)
    found_by_scene: list[dict[str, Sequence[str]]] = [{} for _ in scenes]
    for texts in found:
        for of_scene, moments in zip(found_by_scene, by_scene(scenes, texts.moments), strict=True):
            of_scene[texts.name] = _distinct(moments)
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
            SceneView(scene.index, scene.start_s, scene.end_s, _lines(spoken), found=of_scene)
            for scene, spoken, of_scene in zip(scenes, by_scene(scenes, cues), found_by_scene, strict=True)
        ),
        found={texts.name: _distinct(texts.moments) for texts in found},
    )


def _distinct(moments: Iterable[Moment]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(moment.text for moment in moments))


def with_descriptions(view: VideoView, descriptions: Mapping[int, str]) -> VideoView:
    """Return `view` with the model's descriptions of its scenes, by their index."""
    scenes = tuple(replace(scene, said=descriptions.get(scene.index, "")) for scene in view.scenes)
    return replace(view, scenes=scenes)


def scene_requests(item: Item, context: StageContext, view: VideoView) -> list[ModelRequest]:
    """Return the requests about the scenes of a video, in order."""
    prompts: PromptSet = context.resources["prompts"]
    scenes: Sequence[Scene] = item["scenes.scenes"]
    return [
        scene_request(item, context, scene, prompts.of_scene(view, scene_view), found)
        for scene, scene_view, found in zip(scenes, view.scenes, findings_by_scene(item, context), strict=True)
    ]


def scene_request(
    item: Item, context: StageContext, scene: Scene, prompts: tuple[Prompt, ...], found: tuple[str, ...] = ()
) -> ModelRequest:
    """Return the request to answer `prompts` about one scene, in which the analyses found `found`."""
    facts = MeasuredFacts(
        duration_s=round(scene.end_s - scene.start_s, 6),
        scenes=1,
        cuts_per_minute=0.0,
        stats=scene.stats,
        has_sound=bool(item["metadata.audio"]),
        findings=found,
    )
    frames = _frames(item, context, scene.frames_version, scene.index)
    return ModelRequest(item.sha256, "scene", scene.start_s, scene.end_s, prompts, facts, frames)


def whole_request(item: Item, context: StageContext, view: VideoView, descriptions: Mapping[int, str]) -> ModelRequest:
    """Return the request about a whole video, given the descriptions of its scenes by their index."""
    prompts: PromptSet = context.resources["prompts"]
    return video_request(item, context, prompts.of_video(with_descriptions(view, descriptions)))


def video_request(item: Item, context: StageContext, prompts: tuple[Prompt, ...]) -> ModelRequest:
    """Return the request to answer `prompts` about a whole video."""
    scenes: Sequence[Scene] = item["scenes.scenes"]
    subtitles: Sequence[SubtitleStream] = item["metadata.subtitles"]
    facts = MeasuredFacts(
        duration_s=item["scenes.duration_s"],
        scenes=item["scenes.count"],
        cuts_per_minute=item["scenes.cuts_per_minute"],
        stats=item["scenes.stats"],
        orientation=item["metadata.orientation"],
        resolution=item["metadata.resolution"],
        has_sound=bool(item["metadata.audio"]),
        subtitle_languages=tuple(stream.language or "" for stream in subtitles),
        hdr=item["metadata.hdr"],
        scene_stats=tuple((scene.start_s, scene.stats) for scene in scenes),
        findings=findings(item, context),
    )
    frames = _frames(item, context, item["scenes.frames_version"], None)
    return ModelRequest(item.sha256, "video", 0.0, item["scenes.duration_s"], prompts, facts, frames)


def _frames(item: Item, context: StageContext, version: str, scene: int | None) -> PackFrames | None:
    pack = item["scenes.pack"]
    return PackFrames(context.files, item.sha256, pack, version, scene) if pack else None


def _cues(cues: Sequence[SubtitleCue]) -> list[SubtitleCue]:
    """Return the cues of the first stream that has any: the same words in another language add nothing."""
    first = min((cue.stream for cue in cues), default=None)
    return sorted((cue for cue in cues if cue.stream == first), key=lambda cue: cue.start_s)


def _lines(cues: Sequence[SubtitleCue]) -> tuple[str, ...]:
    """Return their texts, repeated ones once: rolling captions repeat a line until it has scrolled away."""
    return tuple(text for text, _ in itertools.groupby(cue.text for cue in cues))
