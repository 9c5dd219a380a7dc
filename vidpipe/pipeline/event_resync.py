"""Reports stored results that Dagster does not show: after a killed run, or with a new history."""

from __future__ import annotations

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.pipeline.event_reporting import EventReporter
from vidpipe.pipeline.failure_check import evaluate_failures
from vidpipe.runner.plan import Plan
from vidpipe.stages.contract import StageEvent


def resync_events(context: dg.OpExecutionContext, library: Library) -> None:
    """Materializes every good result whose partition is not green, and evaluates the checks for failed videos.

    Takes about 10 s for 100,000 videos that Dagster shows already.
    """
    plan = Plan(library.graph, library.settings, tuple(library.graph), {}, {})
    videos = library.collections["videos"]
    with EventReporter(context, library, plan, partitioned=False) as reporter:
        for stage in library.graph:
            for row in videos.find({f"stages.{stage.name}.status": "ok"}, {"_id": 1}):
                reporter.on_event(StageEvent(row["_id"], stage.name, "current"))
    for stage in library.graph:
        context.instance.report_runless_asset_event(evaluate_failures(library, stage.name))
