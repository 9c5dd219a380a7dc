"""objects: which things appear in the packed frames, how many of them, and for what share of the time."""

from collections.abc import Iterator, Sequence
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
    ModelUse,
    ObjectLabel,
    Objects,
    SceneObjects,
)
from vidpipe.stages.contract import Item, StageContext, per_video
from vidpipe.stages.search_fields import Moment
from vidpipe.tagging.facts import FIELDS

#: Most objects in all frames of a result, and most labels of a scene; the most certain ones are kept.
_MOST_OBJECTS, _MOST_LABELS = 20_000, 50

#: A frame, the seconds that it stands for, and the objects in it.
_Seen = tuple[PackedFrame, float, Sequence[DetectedObject]]


@per_video
def detect_objects(item: Item, context: StageContext) -> Objects:
    """Detect the objects in the packed frames of one video."""
    model: WorkerModel = context.resources["objects_model"]
    least = context.settings.objects.min_confidence
    options = {"min_confidence": round(WEAK * least, 6)}
    examined = list(packed_frames.examine(item, context, model, options=options))
    scenes = item["scenes.scenes"]
    seconds = packed_frames.seconds_of_frames([frame for frame, _ in examined], scenes)
    most = _MOST_OBJECTS // max(1, len(examined))
    seen: list[_Seen] = []
    of_scenes: list[SceneObjects] = []
    for index, group in groupby(zip(examined, seconds, strict=True), key=lambda one: one[0][0].scene):
        frames = [(frame, time_s, answer) for (frame, answer), time_s in group]
        detected = [
            [DetectedObject(label=label, confidence=sure, box=box) for label, sure, box in answer]
            for *_, answer in frames
        ]
        believed = [
            (frame, time_s, objects[:most])
            for (frame, time_s, _), objects in zip(frames, agreed(detected, least), strict=True)
        ]
        seen += believed
        if labels := _labels(believed):
            start_s, end_s = scenes[index].start_s, scenes[index].end_s
            of_scenes.append(SceneObjects(index=index, start_s=start_s, end_s=end_s, labels=labels))
    return Objects(
        models=tuple(ModelUse(**use) for use in model.uses),
        frames=tuple(
            FrameObjects(time_s=frame.time_s, scene=frame.scene, objects=tuple(objects))
            for frame, _, objects in seen
            if objects
        ),
        scenes=tuple(of_scenes),
        labels=_labels(seen),
        frames_examined=len(seen),
    )


def _labels(frames: Sequence[_Seen]) -> tuple[ObjectLabel, ...]:
    """Return the labels of frames, most certain first."""
    total_s = sum(time_s for _, time_s, _ in frames)
    found = []
    for label in {one.label for *_, objects in frames for one in objects}:
        seen = [
            (frame.time_s, time_s, certain)
            for frame, time_s, objects in frames
            if (certain := [one.confidence for one in objects if one.label == label])
        ]
        found.append(
            ObjectLabel(
                label=label,
                count=max(len(certain) for *_, certain in seen),
                confidence=max(max(certain) for *_, certain in seen),
                share=round(min(1.0, sum(time_s for _, time_s, _ in seen) / total_s), 4) if total_s else 1.0,
                first_s=seen[0][0],
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
    Objects,
    detect_objects,
    "Which things appear in the frames, according to an object detector.",
    ("ssd", "detr", "scores"),
    ("objects.min_confidence",),
    evidence=(EvidenceText("objects", "it shows", "objects.scenes", _moments),),
    rule_fields=(RuleField(FIELDS["object"], "objects.labels", lambda labels: tuple(label.label for label in labels)),),
    columns={"objects": lambda stored: ", ".join(label["label"] for label in stored.get("labels") or ())},
)
