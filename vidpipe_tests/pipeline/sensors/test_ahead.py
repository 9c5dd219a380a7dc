"""How far prepare may be ahead of the describing model: real ticks, a real library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings, load
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.pipeline.sensors.ticks import Ticks, keys

WAITS = "Preparing waits: 2 videos are prepared and wait for the model ([Concurrency] Ahead)."


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(load(settings.home).settings, GRAPH) as opened:
        yield opened


@pytest.fixture
def due(library: Library, dagster: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Ticks:
    monkeypatch.setenv("VIDPIPE_QWENVL_BACKEND", "endpoint")
    monkeypatch.setenv("VIDPIPE_QWENVL_PUBLICENDPOINT", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE", "127.0.0.1")
    monkeypatch.setenv("VIDPIPE_CONCURRENCY_AHEAD", "2")
    return Ticks(library, dagster, GRAPH, "due_videos")


def prepared(library: Library, *ids: str) -> None:
    """As if `prepare` had run for these videos."""
    plan = Plan.make(GRAPH, load(library.settings.home).settings)
    done = {
        f"stages.{name}": {"status": "ok", "ready": True, "stale": False, "spec": plan.specs[name]}
        for name in plan.specs
        if plan.graph[name].job == "prepare"
    }
    new = {"stages.descriptions": {"status": "new", "ready": True, "stale": False, "spec": ""}}
    library.collections["videos"].update_many({"_id": {"$in": ids}}, {"$set": done | new})
    plan.close()


def preparing(due: Ticks) -> list[Any]:
    return [request for request in due.requests() if request.job_name == "prepare_list"]


def test_prepare_waits_while_enough_videos_wait_for_the_model(
    due: Ticks, library: Library, add: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, fourth = add("a.mp4", "b.mp4", "c.mp4", "d.mp4")
    prepared(library, first)
    describe, prepare = sorted(due.requests(), key=lambda request: str(request.job_name))
    assert (describe.job_name, keys(describe)) == ("describe_list", [first])
    assert sorted(keys(prepare)) == sorted([second, third, fourth]), "a run is not cut short by the bound"
    queued = due.queue(describe)
    library.collections["videos"].update_many({}, {"$unset": {"launched": ""}})
    prepared(library, second)
    assert WAITS in due.skipped()
    urgent = {"$set": {"priority": 1}}
    library.collections["videos"].update_one({"_id": fourth}, urgent)
    (request,) = preparing(due)
    assert keys(request) == [fourth], "what is urgent is prepared all the same"
    monkeypatch.setenv("VIDPIPE_CONCURRENCY_AHEAD", "3")
    library.collections["videos"].update_many({}, {"$unset": {"launched": ""}})
    run = due.queue(request)
    assert preparing(due) == [], "two are prepared and one is about to be"
    due.dagster.report_run_failed(run)
    assert preparing(due)
    due.dagster.report_run_failed(queued)


def test_nothing_waits_for_a_model_that_is_not_asked_or_held_back(
    due: Ticks, library: Library, add: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = add("a.mp4", "b.mp4", "c.mp4")
    prepared(library, *ids[:2])
    monkeypatch.setenv("VIDPIPE_BUDGET_MODELHOURS", "0.5")
    used = {"descriptions": {"model_seconds": 1800, "computed": 1}}
    now = datetime.now(UTC)
    library.collections["runs"].insert_one({"_id": "used up", "began_at": now, "updated_at": now, "stages": used})
    requests = due.requests()
    assert [(request.job_name, keys(request)) for request in requests] == [("prepare_list", [ids[2]])]
    library.collections["videos"].update_many({}, {"$unset": {"launched": ""}})
    monkeypatch.setenv("VIDPIPE_BUDGET_MODELHOURS", "")
    assert preparing(due) == []
    monkeypatch.setenv("VIDPIPE_QWENVL_BACKEND", "statistics")
    assert preparing(due)


def test_the_bound_is_checked_in_indexes(due: Ticks, library: Library, add: Callable[..., list[str]]) -> None:
    ids = add(*(f"{number}.mp4" for number in range(30)))
    prepared(library, *ids[1:])
    database = library.connection.database
    database.command("profile", 2)
    due.tick()
    database.command("profile", 0)
    (count,) = database["system.profile"].find({"command.pipeline.1.$limit": 2})
    assert "COLLSCAN" not in count["planSummary"]
    assert count["keysExamined"] + count["docsExamined"] <= 20, "no more than decide it, of 29"
