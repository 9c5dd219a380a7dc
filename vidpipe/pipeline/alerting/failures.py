"""Failed runs as Dagster's event log tells of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.tags import WILL_RETRY_TAG

from vidpipe.alerts.message import FailedRun
from vidpipe.alerts.text import one_line

#: Runs looked at together.
BATCH = 100
_MOST_SENTENCES, _SENTENCE = 12, 500

Address = Callable[[str], str]


def newest_event(instance: dg.DagsterInstance) -> int:
    """The number of the last event there is."""
    return instance.event_log_storage.get_maximum_record_id() or 0


def failed_runs(instance: dg.DagsterInstance, after: int, address: Address) -> tuple[list[FailedRun], int]:
    """(runs that failed in events after number `after`, number of the last event looked at), `BATCH` at most.

    Not among them: runs that were cancelled, and those that Dagster tries again by itself.
    address: run id -> address of its page, or nothing
    """
    events = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=after)
    records = instance.fetch_run_status_changes(events, limit=BATCH, ascending=True).records
    if not records:
        return [], after
    ids = [record.run_id for record in records]
    runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=ids))}
    found = []
    for record in records:
        run = runs.get(record.run_id)
        if run is None or _is_tried_again(run):
            continue
        found.append(
            FailedRun(
                id=run.run_id,
                job=run.job_name,
                at=datetime.fromtimestamp(record.timestamp, UTC),
                sentences=tuple(sentences(instance, run.run_id, record.event_log_entry)),
                address=address(run.run_id),
            )
        )
    return found, records[-1].storage_id


def _is_tried_again(run: dg.DagsterRun) -> bool:
    """By Dagster's daemon, which can launch only what a code location has; it marks runs of a command all the same."""
    return run.tags.get(WILL_RETRY_TAG) == "true" and run.remote_job_origin is not None


def sentences(instance: dg.DagsterInstance, run_id: str, ended: dg.EventLogEntry) -> list[str]:
    """What a run's failure says, a line each: what its steps raised, or else why Dagster ended it."""
    said: list[str] = []
    for record in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=3).records:
        event = record.event_log_entry.dagster_event
        data = event.step_failure_data if event is not None else None
        if data is None:
            continue
        if data.user_failure_data is not None and data.user_failure_data.description:
            said += data.user_failure_data.description.splitlines()
        elif data.error is not None:
            innermost = data.error.cause or data.error
            said += innermost.message.strip().splitlines()[:2]
    if not said:
        event = ended.dagster_event
        said = [(event.message if event is not None else None) or "It ended without saying why."]
    return [line for text in said[:_MOST_SENTENCES] if (line := one_line(text, _SENTENCE))]
