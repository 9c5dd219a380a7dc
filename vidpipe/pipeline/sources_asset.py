"""The way in, as Dagster's graph shows it: what ingest takes, and which video it gave."""

import dagster as dg

from vidpipe.pipeline.partitions import VIDEOS

SOURCES_KEY = "sources"
SOURCES = dg.AssetSpec(
    SOURCES_KEY,
    description="URLs and files that were taken in, each observed where it gave a video. The job ingest adds more.",
    group_name="ingest",
    kinds={"file"},
    partitions_def=VIDEOS,
)
