"""objects: which things appear in the packed frames, how many of them, and for what share of the time."""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from vidpipe.media.facts import PackedFrame
from vidpipe.models.worker import WorkerModel
from vidpipe.stages.analyses import packed_frames
from vidpipe.stages.analyses.declaration import EvidenceText, RuleField
from vidpipe.stages.analyses.object_agreement import WEAK, agreed
from vidpipe.stages.analyses.picture_analysis import picture_analysis
from vidpipe.stages.analyses.results import (
    DetectedObject,
    FrameObjects,
    ObjectLabel,
    ObjectsResult,
    SceneObjects,
    used_models,
)
from vidpipe.stages.contract import Item, StageContext, per_video
from vidpipe.stages.search_fields import Moment
from vidpipe.tagging.fields import FIELDS

#: Most objects in all frames of a result, and most labels of a scene; the most certain ones are kept.
_MOST_OBJECTS, _MOST_LABELS = 20_000, 50

#: An object is stated in descriptions and the like if the detector is as certain of it as this in any frame, or sees it
#: for this share of the video. Measured on real clips: below both are the van that is taken for a bus (0.72, 5 %) and
#: the closed laptop that is taken for a surfboard (0.66, 24 %); above them people, cars and bicycles.
_CERTAIN_CONFIDENCE, _CERTAIN_SHARE = 0.75, 0.5

#: A frame, the seconds that it stands for, and the objects in it.
_Seen = tuple[PackedFrame, float, Sequence[DetectedObject]]


@per_video
def detect_objects(item: Item, context: StageContext) -> ObjectsResult:
    """Detect the objects in the packed frames of one video."""
    model: WorkerModel = context.resources["objects_model"]
    least = context.settings.objects.min_confidence
    options = {"min_confidence": round(WEAK * least, 6)}
    examined = list(packed_frames.examine(item, context, model, options=options))
    frames = [frame for frame, _ in examined]
    believed: list[list[DetectedObject]] = []
    for _, group in groupby(examined, key=lambda one: one[0].scene):
        answers = [answer for _, answer in group]
        detected = [
            [DetectedObject(label=name, confidence=sure, box=box) for name, sure, box in one] for one in answers
        ]
        believed += agreed(detected, least)
    scenes = item["scenes.scenes"]
    seconds = packed_frames.seconds_of_frames(frames, scenes)
    most = _MOST_OBJECTS // max(1, len(frames))
    seen = [(frame, time_s, some[:most]) for frame, time_s, some in zip(frames, seconds, believed, strict=True)]
    labels = _labels(seen, model.installed[0].card.get("stated") or None)
    certain = [label.label for label in labels if label.certain]
    return ObjectsResult(
        models=used_models(model),
        frames=tuple(
            FrameObjects(time_s=frame.time_s, scene=frame.scene, objects=tuple(objects))
            for frame, _, objects in seen
            if objects
        ),
        scenes=tuple(
            SceneObjects(index=index, start_s=scenes[index].start_s, end_s=scenes[index].end_s, labels=in_scene)
            for index, group in groupby(seen, key=lambda one: one[0].scene)
            if (in_scene := _labels(list(group), certain, of_scene=True))
        ),
        labels=labels,
        frames_examined=len(seen),
    )


def _labels(
    frames: Sequence[_Seen], stated: Collection[str] | None, *, of_scene: bool = False
) -> tuple[ObjectLabel, ...]:
    """Return the labels of frames, most certain first.

    Args:
        frames: The frames of a video or scene.
        stated: The labels that may be stated: of a scene, those that are certain in the video; None: all.
        of_scene: Whether the frames are of one scene.
    """
    total_s = sum(time_s for _, time_s, _ in frames)
    found = []
    for label in {one.label for *_, objects in frames for one in objects}:
        seen = [
            (frame.time_s, time_s, confidences)
            for frame, time_s, objects in frames
            if (confidences := [one.confidence for one in objects if one.label == label])
        ]
        confidence = max(max(confidences) for *_, confidences in seen)
        share = round(min(1.0, sum(time_s for _, time_s, _ in seen) / total_s), 4) if total_s else 1.0
        found.append(
            ObjectLabel(
                label=label,
                count=max(len(confidences) for *_, confidences in seen),
                confidence=confidence,
                share=share,
                first_s=seen[0][0],
                certain=(stated is None or label in stated)
                and (of_scene or confidence >= _CERTAIN_CONFIDENCE or share >= _CERTAIN_SHARE),
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.confidence, one.label))[:_MOST_LABELS])


def _moments(scenes: Sequence[SceneObjects]) -> Iterator[Moment]:
    """Yield what is certain enough to be stated; searches and rules about objects see all of it."""
    for scene in scenes:
        for label in scene.labels:
            if label.certain:
                yield Moment(scene.start_s, scene.end_s, label.label, "en")


ANALYSIS = picture_analysis(
    "objects",
    ObjectsResult,
    detect_objects,
    "Which things appear in the frames, according to an object detector.",
    outputs=("ssd", "detr", "scores"),
    settings=("objects.min_confidence",),
    evidence=(EvidenceText("objects", "it shows", "objects.scenes", _moments),),
    rule_fields=(RuleField(FIELDS["object"], "objects.labels", lambda labels: tuple(label.label for label in labels)),),
    columns={"objects": lambda stored: ", ".join(label["label"] for label in stored.get("labels") or ())},
)
