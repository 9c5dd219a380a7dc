"""A small batch of new videos passes through all quick steps in the run that ingests it.

Otherwise each step waits for a tick of the sensor due_videos and starts a process: on an idle machine many times the
work itself. Large batches are split by step, so that downloading, decoding and describing overlap.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.pipeline.run_queue import ALL_STEPS_TAG, config_list
from vidpipe.settings import Settings
from vidpipe.sources.due_sources import IngestBatch
from vidpipe.sources.records import IngestOutcome
from vidpipe.stages.graph import StageGraph

#: Name of the sensor that launches the steps. Who stops it wants no video processed.
DUE_VIDEOS = "due_videos"
#: Most sources in all unfinished ingest runs, and most new videos of a run.
MOST_SOURCES = 8
#: Most bytes of the new videos of a run: in a typical encoding five minutes, half a minute of work.
MOST_BYTES = 100_000_000
#: A video that came in longer ago does not wait for the slow downloads of its run.
_LONGEST_HOLD = timedelta(seconds=30)


def is_small(batches: Iterable[IngestBatch], unfinished: Iterable[IngestBatch]) -> bool:
    """Return whether the runs of `batches`, beside those that are unfinished, process what they ingest."""
    return sum(len(batch.sources) for batch in (*batches, *unfinished)) <= MOST_SOURCES


def steps_are_launched(instance: dg.DagsterInstance, settings: Settings) -> bool:
    """Return whether the sensor due_videos is on, by its switch on the page or else by [Sensors] Enabled."""
    switched = {state.instigator_name: state.status.value for state in instance.all_instigator_state()}
    return {"RUNNING": True, "STOPPED": False}.get(switched.get(DUE_VIDEOS, ""), settings.sensors.enabled)


def quick_stages(graph: StageGraph, settings: Settings) -> tuple[str, ...]:
    """Return the stages before the first one that asks a describing model on a GPU or a server.

    Those belong in runs of their own: in the pool `gpu`, within the budget, and where their pace stops no download.
    """
    quick = settings.qwen_vl.measured
    return tuple(stage.name for stage in takewhile(lambda stage: quick or stage.pool != "gpu", graph))


def small_videos(outcomes: Sequence[IngestOutcome]) -> tuple[str, ...]:
    """Return the new videos among `outcomes`; none if they are many or large."""
    stored = {outcome.stored.sha256: outcome.stored.size_bytes for outcome in outcomes if outcome.stored is not None}
    return tuple(stored) if len(stored) <= MOST_SOURCES and sum(stored.values()) <= MOST_BYTES else ()


def held_by_ingest(library: Library, runs: Iterable[dg.DagsterRun]) -> set[str]:
    """Return the videos that the unfinished ingest runs `runs` are about to process."""
    sources = [source for run in runs if ALL_STEPS_TAG in run.tags for source in config_list(run, "sources")]
    since = datetime.now(UTC) - _LONGEST_HOLD
    records = library.sources.get_many(sources).values() if sources else ()
    return {one.video for one in records if one.video and one.last_fetched is not None and one.last_fetched >= since}
