"""moderation: how likely the packed frames are to show nudity. A hint for reviewers, not a verdict."""

from vidpipe.models.worker import WorkerModel
from vidpipe.stages.analyses import packed_frames
from vidpipe.stages.analyses.declaration import RuleField
from vidpipe.stages.analyses.picture_analysis import picture_analysis
from vidpipe.stages.analyses.results import ModerationResult, SceneScore, used_models
from vidpipe.stages.contract import Item, StageContext, per_video
from vidpipe.tagging.fields import FIELDS


@per_video
def rate_frames(item: Item, context: StageContext) -> ModerationResult:
    """Rate the packed frames of one video: the score of a frame is that of the labels that the model's card names."""
    model: WorkerModel = context.resources["moderation_model"]
    highest: dict[int, float] = {}
    for frame, found in packed_frames.examine(item, context, model, options={"min_confidence": 0.0}):
        score = max((sure for _, sure, _ in found), default=0.0)
        highest[frame.scene] = max(score, highest.get(frame.scene, 0.0))
    scenes = item["scenes.scenes"]
    return ModerationResult(
        models=used_models(model),
        scenes=tuple(
            SceneScore(index=index, start_s=scenes[index].start_s, end_s=scenes[index].end_s, score=round(score, 3))
            for index, score in highest.items()
        ),
        score=round(max(highest.values(), default=0.0), 3),
    )


ANALYSIS = picture_analysis(
    "moderation",
    ModerationResult,
    rate_frames,
    "How likely frames are to show nudity: a hint for reviewers, unreliable on animation.",
    outputs=("scores",),
    rule_fields=(RuleField(FIELDS["moderation_score"], "moderation.score"),),
    columns={"moderation_score": lambda stored: stored.get("score")},
)
