"""objects: which things appear in the packed frames, how many of them, and for what share of the time."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from vidpipe.models.model_card import build_picture_model
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.stages.analyses import packed_frames
from vidpipe.stages.analyses.declaration import Analysis, EvidenceText, RuleField
from vidpipe.stages.analyses.object_agreement import WEAK, agreed
from vidpipe.stages.analyses.results import (
    DetectedObject,
    FrameObjects,
    ModelUse,
    ObjectLabel,
    Objects,
    SceneObjects,
)
from vidpipe.stages.contract import Item, Stage, StageContext, per_video
from vidpipe.stages.search_fields import Moment
from vidpipe.tagging.facts import FIELDS

#: Frames per request: larger batches gain nothing (docs/benchmarks.md), and a run stops only between two.
_BATCH = 4
#: Most objects in all frames of a result, and most labels of a scene; the most certain ones are kept.
_MOST_OBJECTS, _MOST_LABELS = 20_000, 50


def build_detector(settings: Settings) -> WorkerModel:
    """Build the resource `object_model`: the detector or classifier of [Objects] Model."""
    return build_picture_model(settings, settings.objects.model, "ssd", "detr", "scores")


@per_video
def detect_objects(item: Item, context: StageContext) -> Objects:
    """Detect the objects in the packed frames of one video."""
    model: WorkerModel = context.resources["object_model"]
    least = context.settings.objects.min_confidence
    examined = list(
        packed_frames.examine(item, context, model, batch=_BATCH, options={"min_confidence": round(WEAK * least, 6)})
    )
    frames = [frame for frame, _ in examined]
    found: list[list[DetectedObject]] = []
    for _, group in groupby(examined, key=lambda pair: pair[0].scene):
        detected = [
            [DetectedObject(label=label, confidence=sure, box=box) for label, sure, box in answer]
            for _, answer in group
        ]
        found += agreed(detected, least)
    scenes = item["scenes.scenes"]
    seconds = packed_frames.seconds_of_frames(frames, scenes)
    most = _MOST_OBJECTS // max(1, len(frames))
    of_scenes: dict[int, list[tuple[float, list[DetectedObject]]]] = defaultdict(list)
    for frame, time_s, some in zip(frames, seconds, found, strict=True):
        of_scenes[frame.scene].append((time_s, some))
    return Objects(
        models=tuple(ModelUse(**use) for use in model.uses),
        frames=tuple(
            FrameObjects(time_s=frame.time_s, scene=frame.scene, objects=tuple(some[:most]))
            for frame, some in zip(frames, found, strict=True)
            if some
        ),
        scenes=tuple(
            SceneObjects(index=index, start_s=scenes[index].start_s, end_s=scenes[index].end_s, labels=labels)
            for index, in_scene in of_scenes.items()
            if (labels := _labels(in_scene))
        ),
        labels=_labels(zip(seconds, found, strict=True)),
        frames_examined=len(frames),
    )


def _labels(frames: Iterable[tuple[float, Sequence[DetectedObject]]]) -> tuple[ObjectLabel, ...]:
    """Return the labels of frames, given as (seconds, objects), most certain first."""
    frames = list(frames)
    count: Counter[str] = Counter()
    confidence: dict[str, float] = {}
    seconds: Counter[str] = Counter()
    for time_s, objects in frames:
        for label, number in Counter(one.label for one in objects).items():
            count[label] = max(count[label], number)
            seconds[label] += time_s  # type: ignore[assignment]
        for one in objects:
            confidence[one.label] = max(one.confidence, confidence.get(one.label, 0.0))
    total = sum(time_s for time_s, _ in frames)
    ranked = sorted(confidence, key=lambda label: (-confidence[label], label))[:_MOST_LABELS]
    return tuple(
        ObjectLabel(
            label=label,
            count=count[label],
            confidence=confidence[label],
            share=round(min(1.0, seconds[label] / total), 4) if total else 1.0,
        )
        for label in ranked
    )


def _moments(scenes: Sequence[SceneObjects]) -> Iterator[Moment]:
    for scene in scenes:
        for label in scene.labels:
            yield Moment(scene.start_s, scene.end_s, label.label, "en")


def _names(labels: Sequence[ObjectLabel]) -> tuple[str, ...]:
    return tuple(label.label for label in labels)


def _column(stored: Mapping[str, Any]) -> str:
    return ", ".join(label["label"] for label in stored.get("labels") or ())


ANALYSIS = Analysis(
    stage=Stage(
        name="objects",
        job="prepare",
        description="Which things appear in the frames, according to an object detector.",
        result=Objects,
        function=detect_objects,
        reads=packed_frames.READS,
        settings=("objects.min_confidence",),
        resources=("object_model",),
        pool="cpu",
        kinds=("onnx", "opencv"),
        optional=True,
    ),
    resources={"object_model": build_detector},
    evidence=(EvidenceText("objects", "it shows", "objects.scenes", _moments),),
    rule_fields=(
        RuleField(FIELDS["object"], "objects.labels", _names),
    ),
    columns={"objects": _column},
)
