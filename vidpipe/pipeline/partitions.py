"""The one set of partitions: every video, by its sha256, in the order in which they came."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from vidpipe.library.video_ids import chunked

VIDEOS = dg.DynamicPartitionsDefinition(name="videos")


def add_videos(instance: dg.DagsterInstance, keys: Iterable[str]) -> None:
    """Makes partitions of `keys`; those that are known stay as they are."""
    for chunk in chunked(dict.fromkeys(keys)):
        instance.add_dynamic_partitions("videos", chunk)


def remove_video(instance: dg.DagsterInstance, key: str) -> None:
    """Removes the partition if it exists. Its materializations stay in Dagster's history."""
    if instance.has_dynamic_partition("videos", key):
        instance.delete_dynamic_partition("videos", key)
