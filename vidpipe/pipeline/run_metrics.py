"""Records what a Dagster run did: in the collection `runs`, and in run tags about the describing model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.library.runs import RunCounters, RunStep, SourceResult, record_run
from vidpipe.pipeline.resources import InProcessRun
from vidpipe.pipeline.run_queue import BY_TAG
from vidpipe.runner.budget import ModelWork, Prices
from vidpipe.runner.estimate import ModelEstimate, estimate
from vidpipe.runner.plan import DescribingStages, Plan
from vidpipe.runner.request import RunRequest
from vidpipe.sources.records import IngestNote, IngestObserver, IngestOutcome, SourceRecord

#: Prefix of the run tags that say what the model is expected to do.
_ESTIMATED = "vidpipe/estimated_"
#: Run tag -> who started the run.
_BY_TAG = {"dagster/sensor_name": "sensor", "dagster/schedule_name": "schedule", "dagster/backfill": "backfill"}
_SOURCE_RESULTS: Mapping[str, SourceResult] = {
    "stored": "stored",
    "already stored": "known",
    "unchanged": "known",
    "failed": "failed",
    "refused": "refused",
    "gone": "gone",
}


@contextmanager
def step_metrics(
    context: dg.OpExecutionContext, library: Library, caller: InProcessRun | None
) -> Iterator[RunCounters]:
    """Yield the figures of a step, stored in the collection `runs` (see `vidpipe.library.runs.record_run`)."""
    run = context.run
    name = RunStep(run.run_id, run.job_name, started_by(run.tags, caller), context.op_def.name)
    with record_run(library.collections["runs"], name) as figures:
        yield figures


def started_by(tags: Mapping[str, str], caller: InProcessRun | None) -> str:
    """Return who started a run (see `RunStep`)."""
    if caller is not None:
        return caller.by
    found = next((by for tag, by in _BY_TAG.items() if tag in tags), "page")
    return tags.get(BY_TAG, found)


def count_outcome(figures: RunCounters, outcome: IngestOutcome) -> None:
    """Count the outcome of one input, unless it was interrupted (and will be resumed) or counted by an earlier run."""
    result = _SOURCE_RESULTS.get(outcome.state)
    if result is not None and not outcome.known:
        new = outcome.stored if result == "stored" else None
        figures.count_source(result, new.size_bytes if new else 0)


@dataclass(frozen=True)
class CountingObserver:
    """An observer of ingest that counts outcomes and forwards everything to another observer."""

    figures: RunCounters
    observer: IngestObserver

    def on_note(self, note: IngestNote) -> None:
        """Forward a note."""
        self.observer.on_note(note)

    def on_start(self, source: SourceRecord) -> None:
        """Forward that a source is started."""
        self.observer.on_start(source)

    def on_bytes(self, source_id: str, done: int, total: int | None) -> None:
        """Forward the progress of a download."""
        self.observer.on_bytes(source_id, done, total)

    def on_outcome(self, outcome: IngestOutcome) -> None:
        """Count an outcome and forward it."""
        count_outcome(self.figures, outcome)
        self.observer.on_outcome(outcome)


def tag_estimate(
    context: dg.OpExecutionContext,
    figures: RunCounters,
    library: Library,
    plan: Plan,
    request: RunRequest,
    *,
    known: ModelEstimate | None = None,
) -> None:
    """Tag the run with what the model is expected to do (`known`, or estimated), unless whoever launched it has.

    Also makes `figures` count the time of the stages that ask the model as the model's. Does nothing if no stage of the
    plan asks it.
    """
    describing = DescribingStages.of(plan)
    if describing is None:
        return
    figures.asks(describing.model.name, describing.names, describing.model.server_use)
    if not any(tag.startswith(_ESTIMATED) for tag in context.run.tags):
        expected = known or estimate(library, plan, request).model
        if expected is not None and not expected.unknown:
            tags = estimate_tags(expected.amount, Prices.of(plan.settings))
            context.instance.add_run_tags(context.run_id, tags)


def tag_usage(context: dg.OpExecutionContext, figures: RunCounters, plan: Plan) -> None:
    """Tag the run with what the model did and, where prices are configured, its cost; no tags if it was not asked."""
    use = figures.model_use
    if not figures.model or not (use.asked or use.reused or use.model_seconds):
        return
    prices = Prices.of(plan.settings)
    cost = prices.cost(use.prompt_tokens, use.output_tokens, use.model_seconds)
    tags = {
        "vidpipe/model": figures.model,
        "vidpipe/answers_asked": str(use.asked),
        "vidpipe/answers_reused": str(use.reused),
        "vidpipe/prompt_tokens": str(use.prompt_tokens),
        "vidpipe/output_tokens": str(use.output_tokens),
        "vidpipe/model_seconds": f"{use.model_seconds:.3f}",
    }
    if cost is not None:
        tags["vidpipe/cost"] = f"{cost:.4f} {prices.currency}"
    context.instance.add_run_tags(context.run_id, tags)


def estimate_tags(amount: ModelWork, prices: Prices) -> dict[str, str]:
    """Return the tags for what a run is expected to do; seconds and cost only where they can be estimated."""
    cost = prices.cost_of(amount)
    return {
        f"{_ESTIMATED}answers": f"{amount.asked:.0f}",
        f"{_ESTIMATED}prompt_tokens": f"{amount.prompt_tokens:.0f}",
        f"{_ESTIMATED}output_tokens": f"{amount.output_tokens:.0f}",
        **({} if amount.seconds is None else {f"{_ESTIMATED}model_seconds": f"{amount.seconds:.3f}"}),
        **({} if cost is None else {f"{_ESTIMATED}cost": f"{cost:.4f} {prices.currency}"}),
    }
