"""faces: how many faces the packed frames show, where, and how large. Nobody is recognized."""

from vidpipe.media.facts import Face, PackedFrame
from vidpipe.models.worker import WorkerModel
from vidpipe.stages.analyses import packed_frames
from vidpipe.stages.analyses.declaration import RuleField
from vidpipe.stages.analyses.picture_analysis import picture_analysis
from vidpipe.stages.analyses.results import FacesResult, FrameFaces, used_models
from vidpipe.stages.contract import Item, StageContext, per_video
from vidpipe.tagging.fields import FIELDS

#: Most faces of all frames in a result; the most certain ones are kept.
_MOST_FACES = 20_000


@per_video
def detect_faces(item: Item, context: StageContext) -> FacesResult:
    """Detect the faces in the packed frames of one video."""
    model: WorkerModel = context.resources["faces_model"]
    examined = _examined(item, context, model)
    most = _MOST_FACES // max(1, len(examined))
    frames = [
        FrameFaces(
            time_s=frame.time_s,
            scene=frame.scene,
            faces=tuple(sorted(found[:most], key=lambda face: face.box[2] * face.box[3], reverse=True)),
        )
        for frame, found in examined
    ]
    seconds = packed_frames.seconds_of_frames([frame for frame, _ in examined], item["scenes.scenes"])
    seen_s = sum(time_s for time_s, frame in zip(seconds, frames, strict=True) if frame.faces)
    return FacesResult(
        models=used_models(model),
        frames=tuple(frame for frame in frames if frame.faces),
        count=max((len(frame.faces) for frame in frames), default=0),
        share=round(seen_s / sum(seconds), 4) if seen_s else 0.0,
        largest=max((face.box[3] for frame in frames for face in frame.faces), default=0.0),
        frames_examined=len(frames),
    )


def _examined(item: Item, context: StageContext, model: WorkerModel) -> list[tuple[PackedFrame, list[Face]]]:
    """Return each frame with its faces: those that were found before they were blurred, or those that the model finds.

    Faces that were blurred are known from the confidence at which faces are blurred.
    """
    least = context.settings.faces.min_confidence
    pack = item["scenes.pack"]
    frames = context.files.pack(item.sha256, pack, context.cancelled).frames if pack else ()
    if all(frame.faces is not None for frame in frames):
        return [(frame, [face for face in frame.faces or () if face.confidence >= least]) for frame in frames]
    options = {"min_confidence": least}
    return [
        (frame, [Face(box=box, confidence=sure) for _, sure, box in answer])
        for frame, answer in packed_frames.examine(item, context, model, options=options)
    ]


ANALYSIS = picture_analysis(
    "faces",
    FacesResult,
    detect_faces,
    "How many faces the frames show, where, and how large. Nobody is recognized.",
    outputs=("centerface", "ssd", "detr"),
    settings=("faces.min_confidence",),
    rule_fields=(RuleField(FIELDS["face_count"], "faces.count"), RuleField(FIELDS["face_share"], "faces.share")),
    columns={"face_count": lambda stored: stored.get("count"), "face_share": lambda stored: stored.get("share")},
)
