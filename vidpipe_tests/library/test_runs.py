"""The figures of runs: kept while the run goes on, summed up for good, and never in the way of the run itself."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from vidpipe.library.library import Library
from vidpipe.library.runs import (
    TOTALS,
    ModelUse,
    RunCounters,
    Runs,
    RunStep,
    model_figures,
    record_run,
    server_use,
    status_of,
)
from vidpipe.settings import Settings
from vidpipe.stages.contract import ModelTokens
from vidpipe.stages.events import StageEvent
from vidpipe_tests.library.sample_library import GRAPH

NAME = RunStep("run-1", "process", "command", "process_videos")


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


def work(figures: RunCounters, computed: int = 1, current: int = 0, failed: int = 0) -> None:
    for number in range(computed):
        figures.count(StageEvent(f"{number:064x}", "scenes", "started"))
        figures.count(StageEvent(f"{number:064x}", "scenes", "computed", seconds=0.5, changed=number == 0))
    for _ in range(current):
        figures.count(StageEvent("a" * 64, "scenes", "current"))
    for _ in range(failed):
        figures.count(StageEvent("b" * 64, "scenes", "failed", seconds=0.25))


def eventually(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
    return found


def test_a_run_is_one_document_of_figures(library: Library) -> None:
    runs = library.collections["runs"]
    before = datetime.now(UTC) - timedelta(seconds=1)
    with record_run(runs, NAME) as figures:
        work(figures, computed=3, current=2, failed=1)
        figures.count_source("stored", 5000)
        figures.count_source("known")
    (run,) = Runs(runs).since(before)
    assert (run["_id"], run["job"], run["by"], run["videos"]) == ("run-1", "process", "command", 6)
    assert run["stages"] == {"scenes": {"computed": 3, "current": 2, "failed": 1, "changed": 1, "seconds": 1.75}}
    assert (run["sources"], run["bytes_in"]) == ({"stored": 1, "known": 1}, 5000)
    assert before < run["began_at"] <= run["ended_at"] <= datetime.now(UTC)
    assert status_of(run) == "success"
    assert list(Runs(runs).since(datetime.now(UTC))) == []


def test_figures_can_be_read_while_the_run_goes_on(library: Library) -> None:
    runs = library.collections["runs"]
    with record_run(runs, NAME, flush_s=0.02) as figures:
        work(figures)
        run = eventually(lambda: runs.find_one({"stages.scenes.computed": 1}))
        assert status_of(run) == "running"
        assert "ended_at" not in run
        assert eventually(Runs(runs).totals)["stages"]["scenes"]["computed"] == 1


def test_the_steps_of_a_run_add_up_and_the_worst_names_its_status(library: Library) -> None:
    runs = library.collections["runs"]
    with contextlib.suppress(ValueError), record_run(runs, RunStep("r", "prepare", "page", "scenes")) as figures:
        work(figures, computed=0, failed=1)
        raise ValueError("broken")
    with record_run(runs, RunStep("r", "prepare", "page", "tags")) as figures:
        work(figures, computed=2)
    (run,) = Runs(runs).since()
    assert (run["stages"]["scenes"]["computed"], run["stages"]["scenes"]["failed"]) == (2, 1)
    assert status_of(run) == "failure"


def test_what_the_model_did_is_kept_with_its_name_and_failures_take_its_time_and_tokens(library: Library) -> None:
    runs = library.collections["runs"]
    said = ModelTokens(asked=4, reused=2, prompt_tokens=900, output_tokens=50)
    half = ModelTokens(asked=1, prompt_tokens=300, output_tokens=10)
    with record_run(runs, NAME) as figures:
        figures.asks("seer", ["descriptions"])
        for number in range(2):
            figures.count(StageEvent(f"{number:064x}", "descriptions", "computed", seconds=3.0, used=said))
        figures.count(StageEvent("b" * 64, "descriptions", "failed", seconds=1.5, used=half))
        figures.count(StageEvent("a" * 64, "scenes", "computed", seconds=9.0))
        used = figures.model_use
    (run,) = Runs(runs).since()
    assert used == ModelUse(asked=9, reused=4, prompt_tokens=2100, output_tokens=110, model_seconds=7.5)
    assert model_figures(run["stages"]) == model_figures(Runs(runs).totals()["stages"]) == used
    assert run["models"] == ["seer"]
    with record_run(runs, RunStep("run-2", "process", "command", "process_videos")) as figures:
        figures.count(StageEvent("c" * 64, "descriptions", "computed", seconds=3.0, used=said))
    assert model_figures(next(Runs(runs).since())["stages"]) == ModelUse(), (
        "sentences made of measurements cost nothing"
    )


def test_how_busy_the_models_servers_were_is_kept_for_each_run(library: Library) -> None:
    runs = library.collections["runs"]
    found = {"http://10.0.0.1:8000/v1": {"seconds": 10.0, "busy_seconds": 8.0, "requests": 2}}
    with record_run(runs, NAME, flush_s=0.02) as figures:
        figures.asks("seer", ["descriptions"], lambda: found)
        eventually(lambda: runs.find_one({"servers": {"$exists": True}}))
    assert Runs(runs).latest_server_use() == server_use(Runs(runs).totals()) == found
    with record_run(runs, RunStep("run-2", "process", "command", "process_videos")) as figures:
        figures.asks("seer", ["descriptions"])
    assert Runs(runs).latest_server_use() == found, "a run that asked none says nothing about them"


def test_a_failure_is_counted_by_the_run_that_tried(library: Library) -> None:
    runs = library.collections["runs"]
    with record_run(runs, NAME) as figures:
        figures.count(StageEvent("b" * 64, "scenes", "failed", earlier=True))
    (run,) = Runs(runs).since()
    assert run["stages"]["scenes"] == {"failed_before": 1}


def test_a_stopped_run_is_cancelled_not_failed(library: Library) -> None:
    runs = library.collections["runs"]
    with pytest.raises(KeyboardInterrupt), record_run(runs, NAME):
        raise KeyboardInterrupt
    with record_run(runs, RunStep("run-2", "ask", "command", "ask")) as figures:
        figures.stopped = True
    assert [status_of(run) for run in Runs(runs).since()] == ["canceled"] * 2


def test_totals_outlive_the_runs_they_are_made_of(library: Library) -> None:
    runs = library.collections["runs"]
    for number in range(3):
        with record_run(runs, RunStep(str(number), "process", "sensor", "op")) as figures:
            work(figures, computed=2)
            figures.count_source("stored", 10)
    runs.delete_many({"began_at": {"$lt": datetime.now(UTC)}})  # as the clean-up does
    totals = Runs(runs).totals()
    assert totals["_id"] == TOTALS
    assert totals["stages"]["scenes"] == {"computed": 6, "changed": 3, "seconds": 3.0}
    assert (totals["bytes_in"], totals["steps"]) == (30, {"process": {"success": 3}})
    assert list(Runs(runs).since()) == []


def test_runs_at_the_same_time_lose_nothing(library: Library) -> None:
    runs = library.collections["runs"]

    def run(number: int) -> None:
        with record_run(runs, RunStep(f"run-{number}", "process", "sensor", "op"), flush_s=0.001) as figures:
            for _ in range(50):
                work(figures)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found["stages"]["scenes"]["computed"] for found in Runs(runs).since()] == [50] * 4
    assert Runs(runs).totals()["stages"]["scenes"]["computed"] == 200


_KILLED = """
import os, signal, sys, time
from pymongo import MongoClient
from vidpipe.library.runs import RunStep, record_run
from vidpipe.stages.events import StageEvent

runs = MongoClient(sys.argv[1])[sys.argv[2]][sys.argv[3]]
with record_run(runs, RunStep("killed", "process", "sensor", "op"), flush_s=0.02) as figures:
    figures.count(StageEvent("a" * 64, "scenes", "computed", seconds=2.0))
    while runs.find_one({"stages.scenes.computed": 1}) is None:
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_keeps_its_figures_and_is_seen_to_be_lost(library: Library, mongod_uri: str) -> None:
    runs = library.collections["runs"]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, mongod_uri, runs.database.name, runs.name], check=False, timeout=60
    )
    assert done.returncode == -9
    (run,) = Runs(runs).since()
    assert run["stages"]["scenes"] == {"computed": 1, "seconds": 2.0}
    assert run["status"] == "running"
    assert status_of(run) == "lost"
    assert Runs(runs).totals()["stages"]["scenes"]["computed"] == 1


def test_a_server_that_is_away_does_not_fail_the_run(caplog: pytest.LogCaptureFixture) -> None:
    address = "mongodb://someone:hidden@127.0.0.1:9/"
    with (
        MongoClient[dict[str, Any]](address, serverSelectionTimeoutMS=50) as client,
        record_run(client["any"]["runs"], NAME, flush_s=0.01, patience_s=0.2) as figures,
    ):
        work(figures)
        time.sleep(0.6)
        work(figures)
    assert [record.levelname for record in caplog.records] == ["WARNING"], "once, however often it is tried"
    assert "could not be stored" in caplog.text
    assert "hidden" not in caplog.text
    kept: list[float] = []

    def all_kept() -> bool:
        kept.append(figures.take()[0].get("stages.scenes.computed", 0))
        return sum(kept) == 2

    eventually(all_kept)
