"""The processes of runs: how Dagster's are started and stopped, and how it is noticed that one has died.

Dagster's own launcher runs everything as children of its code server and does not look after them. Here a run that
Dagster launches is a process of its own: it outlives a killed daemon, page or code server, and its name stands in the
run's tags from the start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, serialize_value
from dagster._serdes.config_class import ConfigurableClassData

from vidpipe.library.process_identity import is_dead, name_of, pid_of
from vidpipe.safe_files import open_private, private_directory
from vidpipe.settings import find_home

log = logging.getLogger(__name__)

#: Run tag: the name of the process that works on the run (see vidpipe.library.process_identity).
PROCESS_TAG = "vidpipe/process"
#: Run tag, not shown on the page: Dagster launched the run, not a command in a terminal.
_LAUNCHED_TAG = ".dagster/vidpipe_launched"
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class WatchedRunLauncher(RunLauncher, ConfigurableClass):
    """Starts each run as a process of its own, and tells Dagster when that process has died."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        run = context.dagster_run
        origin = context.job_code_origin
        if origin is None:
            raise dg.DagsterInvariantViolationError(f"run {run.run_id} does not say where its job is defined")
        arguments = ExecuteRunArgs(job_origin=origin, run_id=run.run_id, instance_ref=self._instance.get_ref())
        path = run_log(run.run_id)
        private_directory(path.parent)
        with open_private(path) as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "vidpipe.pipeline.program", "dagster", "api", "execute_run"],
                env={**_inherited(), "DAGSTER_EXECUTE_RUN_ARGS": serialize_value(arguments)},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self._instance.add_run_tags(run.run_id, {PROCESS_TAG: name_of(child.pid), _LAUNCHED_TAG: "yes"})
        with self._lock:
            # One that has ended stays in the process table until it is asked after.
            self._children = {name: other for name, other in self._children.items() if other.poll() is None}
            self._children[run.run_id] = child

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id) if self.has_instance else None
        return run is not None and not run.is_finished and stop_run(self._instance, run)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        tag = run.tags.get(PROCESS_TAG, "")
        if tag and is_dead(tag):
            return CheckRunHealthResult(WorkerStatus.FAILED, f"The process of this run ({tag}) has died.")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def join(self, timeout: int = 30) -> None:
        with self._lock:
            children = list(self._children.values())
        for child in children:
            child.wait(timeout)


def run_log(run_id: str) -> Path:
    """Where the output of a launched run's process goes, beside what Dagster keeps of its steps."""
    return find_home() / "data" / "logs" / "runs" / f"{run_id}.log"


def _inherited() -> dict[str, str]:
    """The environment of a run: this process's, without what marks a server of the home."""
    return {name: value for name, value in os.environ.items() if not name.startswith("_VIDPIPE_")}


def launched_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """The unfinished runs that Dagster launched and whose process lives."""
    runs = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED, tags={_LAUNCHED_TAG: "yes"}))
    return [run for run in runs if is_alive(run)]


def is_alive(run: dg.DagsterRun) -> bool:
    """Whether the run's process lives, on this machine."""
    return pid_of(run.tags.get(PROCESS_TAG, "")) is not None


def stop_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Asks the run's process to stop: it stores what is finished. False where there is no such process here."""
    if run.status != dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceling(run)
    return _signal(run, signal.SIGTERM)


def kill(run: dg.DagsterRun) -> bool:
    return _signal(run, signal.SIGKILL)


def _signal(run: dg.DagsterRun, number: signal.Signals) -> bool:
    pid = pid_of(run.tags.get(PROCESS_TAG, ""))
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Ends the runs whose process was killed, and frees their slots in pools. Gives their ids."""
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        tag = run.tags.get(PROCESS_TAG, "")
        if run.status == dg.DagsterRunStatus.NOT_STARTED and run.parent_run_id:
            continue  # launched again from the page a moment ago: the tag is still that of the first run's process
        if tag and is_dead(tag):
            log.warning("run %s was left behind by a process that died (%s); it is ended", run.run_id, tag)
            if run.status == dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceled(run, "Its process ended before it could say so.")
            else:
                instance.report_run_failed(run, f"The process of this run ({tag}) has died.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended
