"""The sensors `run_failures` and `failure_rate`: they feed the alert queue from Dagster's history and have it sent."""

from datetime import UTC, datetime
from functools import partial

import dagster as dg

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.library.library import Library
from vidpipe.operations.alerts import delivery
from vidpipe.operations.alerts.alert_queue import AlertQueue
from vidpipe.operations.alerts.delivery import end_outage, queue_high_rates, report_outage, send_alerts
from vidpipe.operations.alerts.message import FailedRun, one_line
from vidpipe.operations.services.service_definitions import find_running, public_url
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

#: Marks a failed run that Dagster's daemon retries (https://docs.dagster.io/deployment/execution/run-retries).
_WILL_RETRY_TAG = "dagster/will_retry"
_BATCH = 100
_MAX_SENTENCES, _SENTENCE = 12, 500


def run_failures_sensor(graph: StageGraph) -> dg.SensorDefinition:
    """Make the sensor that sends alerts. It runs whatever [Sensors] Enabled says, since it launches nothing."""

    @dg.sensor(
        name="run_failures",
        description="Sends alerts about failed runs as [Alerts] says, and retries those that could not be delivered.",
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def run_failures(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SkipReason:
        try:
            settings = library.settings()
        except VidpipeError as error:
            return dg.SkipReason(str(error))
        try:
            with library.opened(graph, settings) as opened, opened.connection.errors_explained():
                number = queue_failed_runs(context.instance, opened, settings)
                sentences = send_alerts(alert_queue(context.instance, opened), settings)
        except UnavailableError as error:
            return dg.SkipReason(" ".join(report_outage(settings, error)))
        end_outage(settings)
        return dg.SkipReason(" ".join([f"Runs that failed since the last check: {number}.", *sentences]))

    return run_failures


def failure_rate_sensor(graph: StageGraph) -> dg.SensorDefinition:
    """Make the sensor for failure rates. It runs whatever [Sensors] Enabled says, since it launches nothing."""

    @dg.sensor(
        name="failure_rate",
        description="Sends an alert if too many videos of a stage, or too many sources, failed within RateWindow.",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def failure_rate(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SkipReason:
        try:
            settings = library.settings()
            with library.opened(graph, settings) as opened, opened.connection.errors_explained():
                queue = alert_queue(context.instance, opened)
                rates = queue_high_rates(queue, settings.alerts, opened.collections["runs"])
                sentences = send_alerts(queue, settings)
        except VidpipeError as error:  # run_failures reports an outage
            return dg.SkipReason(str(error))
        found = [rate.sentence() for rate in rates] or ["No failure rate is too high."]
        return dg.SkipReason(" ".join([*found, *sentences]))

    return failure_rate


def alert_queue(instance: dg.DagsterInstance, library: Library) -> AlertQueue:
    """Return the alert queue of a Dagster instance, in the library."""
    storage_id = getattr(instance.run_storage, "get_run_storage_id", None)  # only SQL storages have an id
    return AlertQueue(library.collections["meta"], str(storage_id()) if storage_id else "dagster")


def queue_failed_runs(instance: dg.DagsterInstance, library: Library, settings: Settings) -> int:
    """Queue and log the runs that failed since the last call. Returns their number."""
    failures = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
    newest = failures[0].storage_id if failures else 0
    read = partial(failed_runs, instance, settings)
    return delivery.queue_failed_runs(alert_queue(instance, library), settings.alerts, newest, read)


def failed_runs(instance: dg.DagsterInstance, settings: Settings, after: int) -> tuple[list[FailedRun], int]:
    """Read a batch of failed runs, without those that were canceled or that Dagster retries.

    Args:
        instance: Dagster's instance.
        settings: Of the home.
        after: Storage id of the last event that was read.

    Returns:
        The runs, and the storage id of the last event of the batch.
    """
    events = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=after)
    records = instance.fetch_run_status_changes(events, limit=_BATCH, ascending=True).records
    if not records:
        return [], after
    runs_filter = dg.RunsFilter(run_ids=[record.run_id for record in records])
    runs = {run.run_id: run for run in instance.get_runs(runs_filter)}
    page = page_address(settings)
    found = [
        FailedRun(
            id=run.run_id,
            job=run.job_name,
            at=datetime.fromtimestamp(record.timestamp, UTC),
            sentences=tuple(_sentences(instance, run.run_id, record.event_log_entry)),
            address=f"{page}/runs/{run.run_id}" if page else "",
        )
        for record in records
        if (run := runs.get(record.run_id)) is not None and not _is_retried(run)
    ]
    return found, records[-1].storage_id


def _is_retried(run: dg.DagsterRun) -> bool:
    """Whether Dagster's daemon retries the run: it marks all, but can launch only those of a code location."""
    return run.tags.get(_WILL_RETRY_TAG) == "true" and run.remote_job_origin is not None


def _sentences(instance: dg.DagsterInstance, run_id: str, ended: dg.EventLogEntry) -> list[str]:
    """Why a run failed: what its steps raised, or else why Dagster ended it."""
    lines: list[str] = []
    for record in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=3).records:
        event = record.event_log_entry.dagster_event
        data = event.step_failure_data if event is not None else None
        if data is None:
            continue
        if data.user_failure_data is not None and data.user_failure_data.description:
            lines += data.user_failure_data.description.splitlines()
        elif data.error is not None:
            lines += (data.error.cause or data.error).message.strip().splitlines()[:2]
    if not lines:
        event = ended.dagster_event
        lines = [(event.message if event is not None else None) or "It ended without giving a reason."]
    return [line for text in lines[:_MAX_SENTENCES] if (line := one_line(text, _SENTENCE))]


def page_address(settings: Settings) -> str:
    """Return the URL of Dagster's web page (http://host:port); empty if it is not running."""
    page = find_running(settings.home).get("web")
    if page is None or page.port is None:
        return ""
    return public_url(settings.services.host, page.port)
