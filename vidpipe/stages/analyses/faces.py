"""faces: how many faces the packed frames show, where, and how large. Nobody is recognized."""

from typing import Any

from vidpipe.models.model_card import build_picture_model
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.stages.analyses import packed_frames
from vidpipe.stages.analyses.declaration import Analysis, RuleField
from vidpipe.stages.analyses.results import Face, Faces, FrameFaces, ModelUse
from vidpipe.stages.contract import Item, Stage, StageContext, per_video
from vidpipe.tagging.facts import FIELDS

_BATCH = 4
#: Most faces of all frames in a result; the most certain ones are kept.
_MOST_FACES = 20_000


def build_face_model(settings: Settings) -> WorkerModel:
    """Build the resource `face_model`: the face detector of [Faces] Model."""
    return build_picture_model(settings, settings.faces.model, "centerface", "ssd", "detr")


@per_video
def detect_faces(item: Item, context: StageContext) -> Faces:
    """Detect the faces in the packed frames of one video."""
    model: WorkerModel = context.resources["face_model"]
    options = {"min_confidence": context.settings.faces.min_confidence}
    examined = list(packed_frames.examine(item, context, model, batch=_BATCH, options=options))
    most = _MOST_FACES // max(1, len(examined))
    frames = [
        FrameFaces(
            time_s=frame.time_s,
            scene=frame.scene,
            faces=tuple(
                sorted(
                    (Face(box=box, confidence=sure) for _, sure, box in found[:most]),
                    key=lambda face: face.box[2] * face.box[3],
                    reverse=True,
                )
            ),
        )
        for frame, found in examined
    ]
    seconds = packed_frames.seconds_of_frames([frame for frame, _ in examined], item["scenes.scenes"])
    seen_s = sum(time_s for time_s, frame in zip(seconds, frames, strict=True) if frame.faces)
    return Faces(
        models=tuple(ModelUse(**use) for use in model.uses),
        frames=tuple(frame for frame in frames if frame.faces),
        count=max((len(frame.faces) for frame in frames), default=0),
        share=round(seen_s / sum(seconds), 4) if seen_s else 0.0,
        largest=max((face.box[3] for frame in frames for face in frame.faces), default=0.0),
        frames_examined=len(frames),
    )


def _column(name: str) -> Any:
    return lambda stored: stored.get(name)


ANALYSIS = Analysis(
    stage=Stage(
        name="faces",
        job="prepare",
        description="How many faces the frames show, where, and how large. Nobody is recognized.",
        result=Faces,
        function=detect_faces,
        reads=packed_frames.READS,
        settings=("faces.min_confidence",),
        resources=("face_model",),
        pool="cpu",
        kinds=("opencv",),
        optional=True,
    ),
    resources={"face_model": build_face_model},
    rule_fields=(
        RuleField(FIELDS["face_count"], "faces.count"),
        RuleField(FIELDS["face_share"], "faces.share"),
    ),
    columns={"face_count": _column("count"), "face_share": _column("share")},
)
