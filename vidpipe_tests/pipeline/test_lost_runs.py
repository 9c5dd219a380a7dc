"""Runs of machines that vanished are ended and give their slots back; those of which something is heard go on."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.library.process_names import this_process
from vidpipe.library.workers import Workers
from vidpipe.pipeline import lost_runs
from vidpipe.pipeline.lost_runs import end_lost_runs
from vidpipe.pipeline.run_launcher import PROCESS_TAG
from vidpipe.settings.cluster import Cluster

STARTING, STARTED = dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED
CANCELING = dg.DagsterRunStatus.CANCELING
FAILURE, CANCELED = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED
ELSEWHERE = "elsewhere/0/0|1|1"
TASK = {"dagster-celery/task_id": "1"}


class Ticks:
    """The ticks of the sensor, every 5 s by a clock of their own."""

    def __init__(self, dagster: dg.DagsterInstance, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dagster, self.library = dagster, library
        self.library.settings = library.settings.model_copy(update={"cluster": Cluster(launcher="celery")})
        self.now_s = 1000.0
        monkeypatch.setattr(lost_runs.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(lost_runs, "_SILENCE", lost_runs._Silence())

    def run(self, status: dg.DagsterRunStatus, process: str = ELSEWHERE, **tags: str) -> dg.DagsterRun:
        given = {PROCESS_TAG: process} if process else {}
        run_id = uuid.uuid4().hex
        return self.dagster.add_run(
            dg.DagsterRun(job_name="prepare_list", run_id=run_id, tags={**given, **tags}, status=status)
        )

    def status(self, run: dg.DagsterRun) -> dg.DagsterRunStatus:
        found = self.dagster.get_run_by_id(run.run_id)
        assert found is not None
        return found.status

    def heard(self, run: dg.DagsterRun, status: str = "running") -> None:
        """The step of a run stores its figures."""
        change = {"$set": {"updated_at": datetime.now(UTC), "steps": {"prepare": status}}}
        self.library.collections["runs"].update_one({"_id": run.run_id}, change, upsert=True)

    def worker(self, *runs: dg.DagsterRun, queues: tuple[str, ...] = ("cpu",), slots: int = 1) -> None:
        Workers(self.library.collections).beat("other/0/0|7|7", queues, slots, [run.run_id for run in runs])

    def pass_s(self, seconds: float, each: Callable[[], Any] = lambda: None) -> list[str]:
        """Let time pass. Returns the runs that were ended."""
        ended: list[str] = []
        for _ in range(int(seconds / 5)):
            self.now_s += 5
            each()
            ended += end_lost_runs(self.dagster, self.library)
        return ended


@pytest.fixture
def ticks(dagster: dg.DagsterInstance, library: Library, monkeypatch: pytest.MonkeyPatch) -> Ticks:
    return Ticks(dagster, library, monkeypatch)


def test_a_run_whose_machine_is_gone_fails_within_a_minute_and_its_slot_is_free(ticks: Ticks) -> None:
    storage = ticks.dagster.event_log_storage
    storage.initialize_concurrency_limit_to_default("gpu")
    run = ticks.run(STARTED)
    ticks.heard(run)
    assert storage.claim_concurrency_slot("gpu", run.run_id, "describe").is_claimed
    assert ticks.pass_s(40) == []
    assert ticks.pass_s(20) == [run.run_id]
    assert ticks.status(run) == FAILURE
    assert storage.claim_concurrency_slot("gpu", "another" * 4, "describe").is_claimed


def test_a_run_that_was_being_canceled_there_is_canceled(ticks: Ticks) -> None:
    run = ticks.run(CANCELING)
    ticks.heard(run)
    assert ticks.pass_s(60) == [run.run_id]
    assert ticks.status(run) == CANCELED


def test_a_run_that_stores_its_figures_goes_on(ticks: Ticks) -> None:
    run = ticks.run(STARTED)
    assert ticks.pass_s(200, lambda: ticks.heard(run)) == []


def test_a_run_of_this_machine_goes_on(ticks: Ticks) -> None:
    """Its process can be seen."""
    run = ticks.run(STARTED, this_process())
    assert ticks.pass_s(200) == []
    assert ticks.status(run) == STARTED


def test_a_run_that_waits_for_a_slot_of_a_pool_on_a_worker_goes_on(ticks: Ticks) -> None:
    """No step of it has begun, so that nothing stores figures; its worker says that it has it."""
    run = ticks.run(STARTED, process="", **TASK)
    assert ticks.pass_s(200, lambda: ticks.worker(run)) == []
    between_steps = ticks.run(STARTED, **TASK)
    ticks.heard(between_steps, "success")
    assert ticks.pass_s(200, lambda: ticks.worker(run, between_steps, slots=2)) == []
    assert set(ticks.pass_s(60, ticks.worker)) == {run.run_id, between_steps.run_id}, "the worker has lost them"


def test_a_run_of_a_command_on_another_machine_that_waits_for_a_slot_goes_on(ticks: Ticks) -> None:
    """No worker has taken it, and its step has not begun."""
    run = ticks.run(STARTED)
    assert ticks.pass_s(200, ticks.worker) == []
    assert ticks.status(run) == STARTED


def test_a_run_of_docker_or_kubernetes_that_waits_for_a_slot_goes_on(ticks: Ticks) -> None:
    """Dagster asks these about their containers itself."""
    ticks.library.settings = ticks.library.settings.model_copy(update={"cluster": Cluster(launcher="k8s")})
    starting, started = ticks.run(STARTING, process=""), ticks.run(STARTED, process="")
    assert ticks.pass_s(200) == []
    ticks.heard(started)
    assert ticks.pass_s(60) == [started.run_id], "but a step that is silent has lost its machine"
    assert ticks.status(starting) == STARTING


def test_a_run_that_nobody_begins_although_a_machine_is_free_fails(ticks: Ticks) -> None:
    run = ticks.run(STARTING, process="")
    assert ticks.pass_s(45, ticks.worker) == []
    assert ticks.pass_s(20, ticks.worker) == [run.run_id]
    assert ticks.status(run) == FAILURE


def test_a_run_waits_while_no_machine_is_free_for_it(ticks: Ticks) -> None:
    """However long, and also when one has just become free."""
    busy = ticks.run(STARTED)
    waiting = ticks.run(STARTING, process="")
    gpu = ticks.run(STARTING, process="", **{"dagster-celery/queue": "gpu"})
    assert ticks.pass_s(300, lambda: (ticks.worker(busy), ticks.heard(busy))) == []
    assert ticks.pass_s(20, ticks.worker) == []
    assert ticks.pass_s(100, lambda: ticks.worker(waiting)) == [busy.run_id]
    assert ticks.status(gpu) == STARTING, "no machine serves its queue"


def test_a_run_is_not_to_blame_for_an_outage_of_the_servers(ticks: Ticks) -> None:
    """While MongoDB is away, no run can store figures and no tick can read them; afterwards the first tick is early."""
    run = ticks.run(STARTED)
    ticks.heard(run)
    ticks.pass_s(10)
    ticks.now_s += 90
    assert ticks.pass_s(15) == []
    ticks.heard(run)
    assert ticks.pass_s(35) == []
    assert ticks.pass_s(20) == [run.run_id]
