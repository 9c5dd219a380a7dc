"""The partitions (every video, by its sha256) and the source asset they come from."""

from collections.abc import Iterable

import dagster as dg

from vidpipe.library.videos import chunked

VIDEOS = dg.DynamicPartitionsDefinition(name="videos")

SOURCES_KEY = "sources"
SOURCES = dg.AssetSpec(
    SOURCES_KEY,
    description="Sources that were added, each observed with the video it gave. The job ingest adds more.",
    group_name="ingest",
    kinds={"file"},
    partitions_def=VIDEOS,
)


def add_videos(instance: dg.DagsterInstance, keys: Iterable[str]) -> None:
    """Add `keys` as partitions; known ones stay as they are."""
    for chunk in chunked(dict.fromkeys(keys)):
        instance.add_dynamic_partitions("videos", chunk)


def remove_video(instance: dg.DagsterInstance, key: str) -> None:
    """Remove the partition if it exists. Its materializations stay in Dagster's history."""
    if instance.has_dynamic_partition("videos", key):
        instance.delete_dynamic_partition("videos", key)
