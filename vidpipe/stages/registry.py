"""The seven stages, in order. A new stage is one file and one entry here."""

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
