"""The partitions (videos, by their sha256) and the source asset they come from.

Dagster recommends at most 100,000 partitions per asset. In a larger library the newest videos are partitions, those
that failed, and those that a person added; the others are in MongoDB and on the library page alone.
"""

import time
from collections.abc import Callable, Iterable
from datetime import timedelta

import dagster as dg

from vidpipe.library import server_clock
from vidpipe.library.library import Library
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked
from vidpipe.operations.retention import PruneReport
from vidpipe.pipeline.dagster_internals import unfinished_backfills
from vidpipe.pipeline.run_queue import videos_of_unfinished_runs

VIDEOS = dg.DynamicPartitionsDefinition(name="videos")

SOURCES_KEY = "sources"
SOURCES = dg.AssetSpec(
    SOURCES_KEY,
    description="Sources that were added, each observed with the video it gave. The job ingest adds more.",
    group_name="ingest",
    kinds={"file"},
    partitions_def=VIDEOS,
)

#: A video that a person has added stays a partition for this long.
KEPT_DAYS = 30


def add_videos(instance: dg.DagsterInstance, keys: Iterable[str]) -> None:
    """Add `keys` as partitions, whatever the limit; known ones stay as they are."""
    for chunk in chunked(dict.fromkeys(keys)):
        instance.add_dynamic_partitions("videos", chunk)


def remove_video(instance: dg.DagsterInstance, key: str) -> None:
    """Remove the partition if it exists. Its materializations stay in Dagster's history."""
    instance.delete_dynamic_partition("videos", key)


class VideoPartitions:
    """Keeps the partitions within [Cluster] MaxPartitions.

    Args:
        instance: The instance of the home.
        library: The library.

    Attributes:
        query: A condition on the videos that should be partitions; empty if all should.
        progress: Is told how many partitions, of how many, `trim` has looked at.
    """

    progress: Callable[[int, int], None] = staticmethod(lambda *_: None)

    def __init__(self, instance: dg.DagsterInstance, library: Library) -> None:
        self._instance, self._library, self.query = instance, library, Document()
        self._videos, self._limit = library.collections["videos"], library.settings.cluster.max_partitions
        latest = {"sort": {"added_at": -1, "_id": 1}, "skip": self._limit}
        left_out = library.retry(lambda: self._videos.find_one({}, {"_id": 0, "added_at": 1}, **latest))
        if left_out is not None:
            failed = [{f"stages.{name}.status": {"$in": ["failed", "quarantined"]}} for name in library.graph.names]
            asked_for = {"partition_since": {"$gt": server_clock.now() - timedelta(days=KEPT_DAYS)}}
            self.query = {"$or": [*failed, asked_for, {"added_at": {"$gt": left_out["added_at"]}}]}

    def add(self, keys: Iterable[str]) -> set[str]:
        """Add those of `keys` that should be partitions, and return them."""
        wanted, find = list(dict.fromkeys(keys)), self._videos.find
        if self.query:
            queries = [{"_id": {"$in": chunk}, **self.query} for chunk in chunked(wanted)]
            wanted = self._library.retry(lambda: [row["_id"] for query in queries for row in find(query, {"_id": 1})])
        add_videos(self._instance, wanted)
        return set(wanted)

    def trim(self, report: PruneReport, dry_run: bool = False, *, max_s: float = 600.0, tolerance: float = 1.0) -> None:
        """Remove partitions beyond the limit, but none that an unfinished run or backfill may use.

        Dagster removes one at a time, which takes 15 ms or more with SQLite.

        Args:
            report: Counts them.
            dry_run: Only count.
            max_s: About how many seconds it may take.
            tolerance: Nothing is removed unless there are more than so many times the limit.
        """
        deadline = time.monotonic() + max_s
        keys = self._instance.get_dynamic_partitions("videos") if self.query else ()
        for chunk in chunked(keys if len(keys) > self._limit * tolerance else ()):
            if time.monotonic() > deadline or unfinished_backfills(self._instance):
                report.notes.append("Others are left: time was up, or a backfill has not finished.")
                break
            for key in set(chunk) - videos_of_unfinished_runs(self._instance, limit=None) - self.add(chunk):
                report.add(0, None)
                if not dry_run:
                    self._instance.delete_dynamic_partition("videos", key)
            self.progress(keys.index(chunk[-1]) + 1, len(keys))
