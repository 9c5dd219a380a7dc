"""moderation: how likely the packed frames are to show nudity. A hint for reviewers, not a verdict."""

from vidpipe.models.model_card import build_picture_model
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.stages.analyses import packed_frames
from vidpipe.stages.analyses.declaration import Analysis, RuleField
from vidpipe.stages.analyses.results import ModelUse, Moderation, SceneScore
from vidpipe.stages.contract import Item, Stage, StageContext, per_video
from vidpipe.tagging.facts import FIELDS

_BATCH = 4


def build_moderation_model(settings: Settings) -> WorkerModel:
    """Build the resource `moderation_model`: the classifier of [Moderation] Model."""
    return build_picture_model(settings, settings.moderation.model, "scores")


@per_video
def rate_frames(item: Item, context: StageContext) -> Moderation:
    """Rate the packed frames of one video: the score of a frame is that of the labels that the model's card names."""
    model: WorkerModel = context.resources["moderation_model"]
    highest: dict[int, float] = {}
    for frame, found in packed_frames.examine(item, context, model, batch=_BATCH, options={"min_confidence": 0.0}):
        score = max((sure for _, sure, _ in found), default=0.0)
        highest[frame.scene] = max(score, highest.get(frame.scene, 0.0))
    scenes = item["scenes.scenes"]
    return Moderation(
        models=tuple(ModelUse(**use) for use in model.uses),
        scenes=tuple(
            SceneScore(index=index, start_s=scenes[index].start_s, end_s=scenes[index].end_s, score=round(score, 3))
            for index, score in highest.items()
        ),
        score=round(max(highest.values(), default=0.0), 3),
    )


ANALYSIS = Analysis(
    stage=Stage(
        name="moderation",
        job="prepare",
        description="How likely frames are to show nudity: a hint for reviewers, unreliable on animation.",
        result=Moderation,
        function=rate_frames,
        reads=packed_frames.READS,
        resources=("moderation_model",),
        pool="cpu",
        kinds=("onnx",),
        optional=True,
    ),
    resources={"moderation_model": build_moderation_model},
    rule_fields=(
        RuleField(FIELDS["moderation_score"], "moderation.score"),
    ),
    columns={"moderation_score": lambda stored: stored.get("score")},
)
