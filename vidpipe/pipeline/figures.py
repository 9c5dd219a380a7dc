"""The figures of a run that goes by Dagster: whose run it is, and what ingest adds to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from vidpipe.library.library import Library
from vidpipe.library.runs import RunCounters, RunStep, SourceResult, record_run
from vidpipe.pipeline.event_reporting import StepContext
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
def figures_of(context: StepContext, library: Library, caller: InProcessRun | None) -> Iterator[RunCounters]:
    """Figures of the step of `context`, kept in the collection `runs`; see `vidpipe.library.runs.record_run`."""
    run = context.run
    step = context.get_step_execution_context().step.key
    name = RunStep(run.run_id, run.job_name, _by(run.tags, caller), step)
    with record_run(library.collections["runs"], name) as figures:
        yield figures


def _by(tags: Mapping[str, str], caller: InProcessRun | None) -> str:
    if caller is not None:
        return "command"
    found = next((by for tag, by in _BY_TAG.items() if tag in tags), "page")
    return tags.get("vidpipe/by", found)


def count_outcome(figures: RunCounters, outcome: IngestOutcome) -> None:
    """What became of one input. Not counted are one that was interrupted, which will be resumed, and an error that
    an earlier run has counted."""
    result = _SOURCE_RESULTS.get(outcome.state)
    if result is not None and not outcome.known:
        new = outcome.stored if result == "stored" else None
        figures.count_source(result, new.size_bytes if new else 0)


@dataclass(frozen=True)
class Counting:
    """An observer of ingest that counts what comes in, and passes on to another."""

    figures: RunCounters
    observer: IngestObserver | None = None

    def on_note(self, note: IngestNote) -> None:
        if self.observer is not None:
            self.observer.on_note(note)

    def on_start(self, source: SourceRecord) -> None:
        if self.observer is not None:
            self.observer.on_start(source)

    def on_bytes(self, source_id: str, done: int, total: int | None) -> None:
        if self.observer is not None:
            self.observer.on_bytes(source_id, done, total)

    def on_outcome(self, outcome: IngestOutcome) -> None:
        count_outcome(self.figures, outcome)
        if self.observer is not None:
            self.observer.on_outcome(outcome)
