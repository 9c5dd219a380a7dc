"""Starts each run that Dagster launches in a separate process, and detects processes that have died.

Dagster's default launcher runs everything as children of the code server and does not check on them. A process started
here outlives a killed daemon, page or code server, and the run's tags name it from the start.
"""

import contextlib
import logging
import os
import signal

import dagster as dg

from vidpipe.library.process_names import is_dead, pid_of, process_name
from vidpipe.pipeline.dagster_internals import (
    CheckRunHealthResult,
    ExecuteRunArgs,
    LaunchRunContext,
    WorkerStatus,
    free_pool_slots,
)
from vidpipe.pipeline.spare_process import SPARE_PROCESS
from vidpipe.safe_files import private_directory
from vidpipe.settings import find_home

log = logging.getLogger(__name__)

#: Run tag: the name of the process that executes the run (see vidpipe.library.process_names).
PROCESS_TAG = "vidpipe/process"
#: Run tag: Dagster launched the run, not a command in a terminal.
LAUNCHED_TAG = "vidpipe/launched"
#: Statuses of runs that Dagster has taken from its queue and that have not ended.
STARTED_STATUSES = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


class ProcessRunLauncher(dg.DefaultRunLauncher):
    """Starts each run in a separate process, and reports to Dagster when that process has died."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the process of a run. Its output goes to data/logs/runs."""
        run = context.dagster_run
        origin = context.job_code_origin
        if origin is None:
            raise dg.DagsterInvariantViolationError(f"run {run.run_id} does not say where its job is defined")
        arguments = ExecuteRunArgs(job_origin=origin, run_id=run.run_id, instance_ref=self._instance.get_ref())
        path = find_home() / "data" / "logs" / "runs" / f"{run.run_id}.log"
        private_directory(path.parent)
        pid = SPARE_PROCESS.run(dg.serialize_value(arguments), path)
        self._instance.add_run_tags(run.run_id, {PROCESS_TAG: process_name(pid), LAUNCHED_TAG: "yes"})

    def terminate(self, run_id: str) -> bool:
        """Ask the process of a run to stop. Returns whether there was one."""
        run = self._instance.get_run_by_id(run_id) if self.has_instance else None
        return run is not None and not run.is_finished and stop_run(self._instance, run)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Dagster's run monitoring calls `check_run_worker_health`."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Report whether the process of `run` is alive."""
        tag = run.tags.get(PROCESS_TAG, "")
        if tag and is_dead(tag):
            return CheckRunHealthResult(WorkerStatus.FAILED, f"The process of this run ({tag}) has died.")
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def launched_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Return the unfinished runs that Dagster launched and whose process is alive."""
    runs = instance.get_runs(dg.RunsFilter(statuses=list(STARTED_STATUSES), tags={LAUNCHED_TAG: "yes"}))
    return [run for run in runs if is_alive(run)]


def is_alive(run: dg.DagsterRun) -> bool:
    """Return whether the process of `run` is alive on this machine."""
    return pid_of(run.tags.get(PROCESS_TAG, "")) is not None


def stop_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Ask the process of `run` to store what is finished and exit. Returns False if it has none on this machine."""
    if run.status != dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceling(run)
    return signal_run(run, signal.SIGTERM)


def signal_run(run: dg.DagsterRun, number: signal.Signals) -> bool:
    """Send a signal to the process of `run`. Returns False if it has none on this machine."""
    pid = pid_of(run.tags.get(PROCESS_TAG, ""))
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """End the runs whose process was killed, and free their slots in pools. Returns their ids."""
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=list(STARTED_STATUSES))):
        tag = run.tags.get(PROCESS_TAG, "")
        if run.status == dg.DagsterRunStatus.NOT_STARTED and run.parent_run_id:
            continue  # re-executed from the page a moment ago: the tag still names the first run's process
        if tag and is_dead(tag):
            log.warning("ending run %s, whose process has died (%s)", run.run_id, tag)
            if run.status == dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceled(run, "Its process exited before it could report this.")
            else:
                instance.report_run_failed(run, f"The process of this run ({tag}) has died.")
            free_pool_slots(instance, run.run_id)
            ended.append(run.run_id)
    return ended
