"""Which process works on a run, and whether it is still there: what Dagster itself does not look after."""

from __future__ import annotations

import logging

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

from vidpipe.library.processes import is_dead

log = logging.getLogger(__name__)

#: Run tag: the name of the process that works on the run (see vidpipe.library.processes).
PROCESS_TAG = "vidpipe/process"
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class WatchedRunLauncher(DefaultRunLauncher):
    """Dagster's launcher, which also sees when the process of a run has died, so that Dagster ends the run."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        tag = run.tags.get(PROCESS_TAG, "")
        if tag and is_dead(tag):
            return CheckRunHealthResult(WorkerStatus.FAILED, f"The process of this run ({tag}) has died.")
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Ends the runs whose process was killed, and frees their slots in pools. Gives their ids."""
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        tag = run.tags.get(PROCESS_TAG, "")
        if run.status == dg.DagsterRunStatus.NOT_STARTED and run.parent_run_id:
            continue  # launched again from the page a moment ago: the tag is still that of the first run's process
        if tag and is_dead(tag):
            log.warning("run %s was left behind by a process that died (%s); it is marked as failed", run.run_id, tag)
            instance.report_run_failed(run, f"The process of this run ({tag}) has died.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended
