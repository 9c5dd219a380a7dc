"""What is counted as due is what a run then computes, in whatever state the library is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from vidpipe.library.library import Library
from vidpipe.runner.due import DueCounts, count_due, due_ids
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunRequest
from vidpipe.runner.runner import Runner
from vidpipe.runner.stage_rates import measure_stages
from vidpipe.settings import Settings
from vidpipe.settings.schema import SceneDetection
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.runner.small_graph import GRAPH


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


def add(library: Library, *names: str) -> list[str]:
    ids = [hashlib.sha256(name.encode()).hexdigest() for name in names]
    for sha256, name in zip(ids, names, strict=True):
        library.videos.add(sha256, IngestFacts(path=name, size_bytes=1, modified_ns=1, names=(name,)))
    return ids


def plan_of(library: Library, stages: Sequence[str] | None = None, **changed: Any) -> Plan:
    settings = library.settings.model_copy(update={"scene_detection": SceneDetection(**changed)})
    return Plan.make(GRAPH, settings, stages)


def computed(due: DueCounts) -> dict[str, int]:
    return {name: stage.computed for name, stage in due.stages.items()}


def check(library: Library, plan: Plan, request: RunRequest) -> DueCounts:
    """Counts, then runs, and holds the one against the other."""
    due = count_due(library, plan, request)
    report = Runner(library, plan).run(request.model_copy(update={"check_files": False, "isolate_crashes": False}))
    for name, stage in due.stages.items():
        counts = report.counts.get(name, {})
        tried = counts.get("computed", 0) + counts.get("failed", 0)
        assert stage.computed <= tried <= stage.computed + stage.may_follow + stage.failed, name
    return due


def test_new_videos_and_those_that_wait_for_earlier_stages(library: Library) -> None:
    ids = add(library, "a", "bb", "ccc")
    due = check(library, plan_of(library), RunRequest(videos=ids[:1]))
    assert computed(due) == {"length": 1, "parts": 1, "report": 1}
    assert (due.stages["length"].due, due.stages["parts"].follows) == (1, 1)
    assert computed(check(library, plan_of(library), RunRequest())) == {"length": 2, "parts": 2, "report": 2}
    assert computed(count_due(library, plan_of(library), RunRequest())) == {"length": 0, "parts": 0, "report": 0}
    assert count_due(library, plan_of(library), RunRequest()).videos == 0


def test_of_single_stages_only_what_they_can_do(library: Library) -> None:
    add(library, "a", "bb")
    due = count_due(library, plan_of(library, ["parts", "report"]), RunRequest())
    assert computed(due) == {"parts": 0, "report": 0}
    assert (due.stages["parts"].blocked, due.stages["report"].blocked) == (2, 2)
    check(library, plan_of(library, ["length"]), RunRequest())
    due = check(library, plan_of(library, ["parts", "report"]), RunRequest())
    assert (due.stages["parts"].due, due.stages["report"].follows) == (2, 2)


def test_a_changed_setting_may_bring_more_with_it(library: Library) -> None:
    add(library, "a", "bb")
    check(library, plan_of(library), RunRequest())
    due = check(library, plan_of(library, default_threshold=5.0), RunRequest())
    parts, report = due.stages["parts"], due.stages["report"]
    assert (parts.due, dict(parts.why)) == (2, {"spec": 2})
    assert (report.computed, report.may_follow) == (0, 2), "equal parts spare it"


def test_failures_wait_for_a_retry(library: Library) -> None:
    ids = add(library, "evil", "good")
    (library.settings.home / "broken-evil").touch()
    Runner(library, plan_of(library)).run()
    due = count_due(library, plan_of(library), RunRequest())
    assert (due.videos, due.stages["length"].failed, due.stages["report"].blocked) == (0, 1, 1)
    (library.settings.home / "broken-evil").unlink()
    due = check(library, plan_of(library), RunRequest(retry=True))
    assert dict(due.stages["length"].why) == {"retry": 1}
    assert computed(due) == {"length": 1, "parts": 1, "report": 1}
    assert due_ids(library, plan_of(library), "length", RunRequest(videos=ids)) == []


def test_force_takes_what_is_current_too(library: Library) -> None:
    ids = add(library, "a", "bb", "ccc")
    check(library, plan_of(library), RunRequest())
    request = RunRequest(videos=ids[1:], force=frozenset({"parts"}))
    due = check(library, plan_of(library), request)
    assert computed(due) == {"length": 0, "parts": 2, "report": 0}
    assert dict(due.stages["parts"].why) == {"force": 2}
    assert due.stages["report"].may_follow == 2
    assert due_ids(library, plan_of(library), "parts", request) == sorted(ids[1:])
    assert computed(check(library, plan_of(library), RunRequest(force=frozenset(GRAPH.names)))) == dict.fromkeys(
        GRAPH.names, 3
    )


def test_rates_are_measured_from_what_is_stored(library: Library) -> None:
    assert measure_stages(library, plan_of(library)).stages == {}
    ids = add(library, *(f"v{number:02}" for number in range(30)))
    check(library, plan_of(library), RunRequest())
    for number, sha256 in enumerate(ids):
        duration_s = 10.0 + number
        library.collections["videos"].update_one(
            {"_id": sha256},
            {"$set": {"metadata.duration_s": duration_s, "stages.parts.seconds": 0.5 + 0.25 * duration_s,
                      "stages.report.seconds": 2.0}},
        )  # fmt: skip
    rates = measure_stages(library, plan_of(library))
    assert rates.duration_s == pytest.approx(24.5)
    parts = rates.stages["parts"]
    assert parts.results == 30
    assert parts.seconds(100, 100 * 60.0) == pytest.approx(100 * 15.5, rel=0.01)
    assert rates.stages["report"].seconds(10, 600.0) == pytest.approx(20.0, rel=0.01)
    assert "report" not in measure_stages(library, plan_of(library), without=["report"]).stages
