"""Records what a Dagster run did in the collection `runs`: who started it, and what ingest adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.library.runs import RunCounters, RunStep, SourceResult, record_run
from vidpipe.pipeline.in_process_run import InProcessRun
from vidpipe.sources.records import IngestNote, IngestObserver, IngestOutcome, SourceRecord

#: Run tag -> who started the run.
_BY_TAG = {
    "dagster/sensor_name": "sensor",
    "dagster/schedule_name": "schedule",
    "dagster/backfill": "backfill",
}
_SOURCE_RESULTS: Mapping[str, SourceResult] = {
    "stored": "stored",
    "already stored": "known",
    "unchanged": "known",
    "failed": "failed",
    "refused": "refused",
}


@contextmanager
def step_metrics(
    context: dg.OpExecutionContext, library: Library, caller: InProcessRun | None
) -> Iterator[RunCounters]:
    """Yields the figures of a step, stored in the collection `runs` (see `vidpipe.library.runs.record_run`)."""
    run = context.run
    name = RunStep(run.run_id, run.job_name, _by(run.tags, caller), context.op_def.name)
    with record_run(library.collections["runs"], name) as figures:
        yield figures


def _by(tags: Mapping[str, str], caller: InProcessRun | None) -> str:
    if caller is not None:
        return "command"
    found = next((by for tag, by in _BY_TAG.items() if tag in tags), "page")
    return tags.get("vidpipe/by", found)


def count_outcome(figures: RunCounters, outcome: IngestOutcome) -> None:
    """Counts the outcome of one input, unless it was interrupted (and will be resumed) or counted by an earlier run."""
    result = _SOURCE_RESULTS.get(outcome.state)
    if result is not None and not outcome.known:
        new = outcome.stored if result == "stored" else None
        figures.count_source(result, new.size_bytes if new else 0)


@dataclass(frozen=True)
class CountingObserver:
    """An observer of ingest that counts outcomes and forwards everything to another observer, if there is one."""

    figures: RunCounters
    observer: IngestObserver | None = None

    def on_note(self, note: IngestNote) -> None:
        """Forwards a note."""
        if self.observer is not None:
            self.observer.on_note(note)

    def on_start(self, source: SourceRecord) -> None:
        """Forwards that a source is started."""
        if self.observer is not None:
            self.observer.on_start(source)

    def on_bytes(self, source_id: str, done: int, total: int | None) -> None:
        """Forwards the progress of a download."""
        if self.observer is not None:
            self.observer.on_bytes(source_id, done, total)

    def on_outcome(self, outcome: IngestOutcome) -> None:
        """Counts an outcome and forwards it."""
        count_outcome(self.figures, outcome)
        if self.observer is not None:
            self.observer.on_outcome(outcome)
