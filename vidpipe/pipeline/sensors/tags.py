"""The tags of runs that a sensor or schedule of vidpipe launches."""

from __future__ import annotations

BY_TAG = "vidpipe/by"
STEP_TAG = "vidpipe/step"
PRIORITY_TAG = "dagster/priority"
#: Names the rules that a sweep over the library applies.
SWEEP_TAG = "vidpipe/sweep"


def run_tags(step: str, priority: int = 0) -> dict[str, str]:
    """step: ingest, prepare, describe or label; priority: of the run in Dagster's queue."""
    return {BY_TAG: "sensor", STEP_TAG: step, PRIORITY_TAG: str(priority), "dagster/max_retries": "0"}
