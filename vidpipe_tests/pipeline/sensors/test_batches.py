"""Which videos share a run, and how many runs there may be: by measured seconds and idle machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.library.states import LaunchableVideo
from vidpipe.library.workers import Workers
from vidpipe.pipeline.assets import ModelRequirements
from vidpipe.pipeline.sensors.batches import BatchSize, RunGroup, batch_size, choose_batches, least_priority, most_runs
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings, load
from vidpipe_tests.pipeline.sensors.ticks import Ticks, keys
from vidpipe_tests.runner.small_graph import GRAPH

GROUP = RunGroup(0, ("length",))
#: As in Plan.specs.
STAGES = ("length", "parts")


def videos(*durations_s: float | None, priority: int = 0) -> list[LaunchableVideo]:
    return [LaunchableVideo(f"{priority}-{n}", priority, ("length",), one) for n, one in enumerate(durations_s)]


def sizes(
    due: Sequence[LaunchableVideo], size: BatchSize, most: int = 2, unfinished: Sequence[RunGroup] = ()
) -> list[int]:
    return [len(batch.keys) for batch in choose_batches(due, unfinished, size, most)]


def test_a_run_is_as_long_as_it_may_be_and_has_at_least_one_video() -> None:
    ten_minutes = BatchSize(100, 600, per_video_s=1, per_second_s=2, duration_s=149.5)
    hours = videos(3600, 3600)
    assert sizes(hours, ten_minutes) == [1], "one that takes two hours goes alone; the next one follows it"
    assert sizes(videos(*[None] * 9), ten_minutes) == [2, 2], "300 s each, and the others gather"
    assert sizes(videos(*[9.5] * 90), ten_minutes) == [30, 30], "20 s each"
    assert sizes(videos(*[None] * 250), BatchSize(100, 600)) == [100, 100], "nothing was measured"


def test_fewer_videos_are_shared_out_among_idle_machines() -> None:
    size = BatchSize(100)
    assert sizes(videos(*[1.0] * 10), size, most=5) == [3, 3, 3, 1]
    assert sizes(videos(*[1.0] * 10), size, most=5, unfinished=[GROUP] * 2) == [5, 5]
    assert sizes(videos(*[1.0] * 10), size, most=5, unfinished=[GROUP] * 4) == [], "they gather until one is idle"
    assert sizes(videos(*[1.0] * 1000), size, most=5) == [100] * 5, "four in progress and one ready"
    assert sizes(videos(*[1.0] * 100), size, most=5, unfinished=[GROUP] * 4) == [100]


def test_on_one_machine_a_second_run_is_full_or_more_urgent() -> None:
    size = BatchSize(3)
    assert sizes(videos(1, 1), size) == [2]
    assert sizes(videos(1, 1), size, unfinished=[GROUP]) == []
    assert sizes(videos(1, 1, 1, 1), size, unfinished=[GROUP]) == [3]
    assert sizes(videos(1, priority=1), size, unfinished=[GROUP, GROUP]) == [1]
    assert sizes(videos(1, priority=1), size, unfinished=[GROUP] * 6) == []
    assert least_priority([GROUP]) is None
    assert least_priority([GROUP] * 2) == 0
    assert least_priority([GROUP] * 2, 3) is None


def test_as_many_runs_as_machines_serve_the_queue_and_one_that_is_ready(
    library: Library, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    cpu, gpu = ModelRequirements(), ModelRequirements("gpu", {"dagster-celery/queue": "gpu"})

    def most(model: ModelRequirements, *others: str, **changed: str) -> int:
        for name, value in changed.items():
            monkeypatch.setenv(f"VIDPIPE_{name.upper()}", value)
        return most_runs(library, load(settings.home).settings, model, others)

    assert most(cpu, "cpu", "cpu", "cpu") == 2, "on one machine, whatever else is unfinished"
    monkeypatch.setenv("VIDPIPE_CLUSTER_LAUNCHER", "celery")
    assert most(cpu) == 1, "no machine has joined: one run waits for it"
    workers = Workers(library.collections)
    for name, queues, slots in (("a", ["cpu"], 2), ("b", ["cpu"], 1), ("c", ["gpu"], 3)):
        workers.beat(f"{name}|1|1", queues, slots)
    assert most(cpu, services_maxruns="20") == 4
    assert most(cpu, "cpu", "cpu", "gpu", "gpu") == 2, "what machines with GPUs do takes nothing from the others"
    assert most(cpu, *["cpu"] * 9) == 1, "no step waits for another one"
    assert most(gpu) == 2, "no more than the pool admits"
    assert most(gpu, cluster_pools="gpu=8") == 4
    assert most(gpu, "cpu", "cpu") == 4
    workers.beat("d|1|1", ["cpu", "gpu"], 1)
    assert most(gpu, "cpu", "cpu") == 3, "machine d is perhaps busy"
    assert most(cpu, services_maxruns="2") == 3, "Dagster starts no more than MaxRuns"
    workers.leave("a|1|1")
    assert most(cpu, services_maxruns="20") == 3
    assert most(cpu, "cpu", cluster_launcher="k8s", services_maxruns="6") == 6


def ran(library: Library, number: int, wall_s: float, work_s: float, job: str = "prepare_list") -> None:
    began = datetime.now(UTC) - timedelta(hours=number)
    times = {"began_at": began, "ended_at": began + timedelta(seconds=wall_s)}
    stages = {"length": {"seconds": work_s, "computed": 10}}
    library.collections["runs"].insert_one({"_id": f"run {number}", "job": job, "stages": stages, **times})


def test_batches_are_sized_by_what_runs_and_videos_took(
    library: Library,
    dagster: dg.DagsterInstance,
    settings: Settings,
    add: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(Plan.make(GRAPH, load(settings.home).settings)) as plan:
        unmeasured = batch_size(library, plan, "prepare_list", STAGES, 100)
        assert (unmeasured.per_video_s, unmeasured.per_second_s, unmeasured.run_s) == (0, 0, 600)
        lengths_s = {sha256: 60.0 * (n % 4 + 1) for n, sha256 in enumerate(add(*(f"v{n}" for n in range(20))))}
        entry = {"status": "ok", "ready": True, "stale": False, "spec": plan.specs["length"]}
        for sha256, length_s in lengths_s.items():
            taken = {"stages.length": entry | {"seconds": 4 + 0.5 * length_s}, "metadata": {"duration_s": length_s}}
            library.collections["videos"].update_one({"_id": sha256}, {"$set": taken})
        assert batch_size(library, plan, "prepare_list", STAGES, 100).per_video_s == 0, "no run has ended"
        ran(library, 1, wall_s=100, work_s=400)
        ran(library, 2, wall_s=200, work_s=800)
        ran(library, 3, wall_s=5000, work_s=1, job="label_list")
        measured = batch_size(library, plan, "prepare_list", STAGES, 100)
    assert measured.per_video_s == pytest.approx(1), "four threads at once"
    assert measured.per_second_s == pytest.approx(0.125)
    assert measured.duration_s == 150
    assert sizes(videos(*[None] * 100), measured) == [30, 30], "of 19.75 s each"
    library.collections["videos"].update_many({}, {"$set": {"stages.length.stale": True}})
    monkeypatch.setenv("VIDPIPE_CLUSTER_RUNMINUTES", "1")
    launched = Ticks(library, dagster, GRAPH, "due_videos").requests()
    assert len(launched) == 2
    for request in launched:
        assert 30 < sum(1 + 0.125 * lengths_s[sha256] for sha256 in keys(request)) <= 60
