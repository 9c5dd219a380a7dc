"""The seven stages, in order. To add a stage, add its file and an entry here."""

from vidpipe.stages import categories, descriptions, metadata, raw_video, scenes, sentiment, tags
from vidpipe.stages.graph import StageGraph

GRAPH = StageGraph(
    (
        raw_video.STAGE,
        metadata.STAGE,
        scenes.STAGE,
        descriptions.STAGE,
        sentiment.STAGE,
        tags.STAGE,
        categories.STAGE,
    )
)
