"""What the sensor due_videos launches, and what it never does: real ticks, a real library, real runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.pipeline.build import build_definitions
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.partitions import add_videos
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings, load
from vidpipe_tests.default_graph import GRAPH as REAL
from vidpipe_tests.pipeline.sensors.ticks import Ticks, config, keys
from vidpipe_tests.runner.small_graph import GRAPH, calls

Add = Callable[..., list[str]]


@pytest.fixture
def due(library: Library, dagster: dg.DagsterInstance) -> Ticks:
    return Ticks(library, dagster, GRAPH, "due_videos")


@pytest.fixture
def add(add: Add, library: Library) -> Add:
    """Adds videos, each a second after the one before: many come in within one millisecond."""

    def add_in_order(*names: str) -> list[str]:
        ids = add(*names)
        for number, sha256 in enumerate(ids):
            change(library, sha256, added_at=datetime(2026, 1, 1, 0, 0, number, tzinfo=UTC))
        return ids

    return add_in_order


def change(library: Library, sha256: str, **fields: Any) -> None:
    library.collections["videos"].update_one(
        {"_id": sha256}, {"$set": {name.replace("__", "."): value for name, value in fields.items()}}
    )


def change_threshold(settings: Settings) -> None:
    """A setting that only `parts` depends on."""
    config_ini = settings.home / "config.ini"
    config_ini.write_text(config_ini.read_text().replace("DefaultThreshold =", "DefaultThreshold = 4.5", 1))


def test_new_videos_go_through_step_after_step_and_then_nothing_is_due(
    due: Ticks, add: Add, settings: Settings, dagster: dg.DagsterInstance
) -> None:
    ids = add("good", "evil", "fine")
    (settings.home / "broken-evil").touch()
    (prepare,) = due.requests()
    assert (prepare.job_name, keys(prepare)) == ("prepare_list", ids)
    tags = {"vidpipe/by": "sensor", "vidpipe/step": "prepare", "dagster/priority": "0", "dagster/max_retries": "0"}
    assert tags.items() <= prepare.tags.items()
    assert not due.run(prepare).success, "one of the videos is broken"
    (label,) = due.requests()
    assert (label.job_name, sorted(keys(label))) == ("label_list", sorted([ids[0], ids[2]]))
    assert due.run(label).success
    assert due.skipped() == "Nothing is due.", "what failed for good is not tried again"
    assert len(calls(settings, "length")) == 3
    assert len(calls(settings, "report")) == 2


def test_what_unfinished_runs_hold_is_not_launched_again(due: Ticks, add: Add, dagster: dg.DagsterInstance) -> None:
    ids = add("a", "b", "c", "d", "e")
    add_videos(dagster, ids)
    tags = {"dagster/asset_partition_range_start": ids[1], "dagster/asset_partition_range_end": ids[2]}
    prepare = build_definitions(GRAPH, due.library.settings).resolve_job_def("prepare")
    backfill = dagster.create_run_for_job(prepare, tags=tags)
    page = dagster.create_run_for_job(prepare, tags={"dagster/partition": ids[4]}, status=dg.DagsterRunStatus.STARTED)
    (request,) = due.requests()
    assert keys(request) == [ids[0], ids[3]]
    queued = due.queue(request)
    assert due.skipped() == "A run of prepare has not finished yet."
    dagster.report_run_failed(backfill)
    dagster.report_run_failed(page)
    assert "has not finished yet" in due.skipped(), "three videos gather while a run of their kind is unfinished"
    dagster.report_run_failed(queued)
    (request,) = due.requests()
    assert keys(request) == ids


def test_a_long_queue_of_a_backfill_does_not_hide_what_the_sensor_launched(
    due: Ticks, add: Add, dagster: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidpipe.pipeline.run_queue.MOST_READ", 3)
    add("a", "b")
    prepare = build_definitions(GRAPH, due.library.settings).resolve_job_def("prepare")
    for number in range(5):
        dagster.create_run_for_job(prepare, tags={"dagster/partition": f"{number:064x}"})
    (request,) = due.requests()
    due.queue(request)
    assert due.skipped() == "A run of prepare has not finished yet."


def test_batches_have_one_priority_the_highest_first_and_are_few_at_once(
    due: Ticks, add: Add, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPIPE_SENSORS_PREPAREBATCH", "3")
    ids = add(*(f"v{number}" for number in range(10)))
    change(library, ids[7], priority=5)
    change(library, ids[2], priority=-1)
    first, second = due.requests()
    assert (keys(first), first.tags["dagster/priority"]) == ([ids[7]], "5")
    assert (keys(second), second.tags["dagster/priority"]) == ([ids[0], ids[1], ids[3]], "0")
    runs = [due.queue(first), due.queue(second)]
    assert due.skipped() == "2 runs of prepare have not finished yet."
    change(library, ids[9], priority=3)
    (urgent,) = due.requests()
    assert keys(urgent) == [ids[9]], "what is more urgent does not wait for the end of what is less"
    runs.append(due.queue(urgent))
    assert "have not finished yet" in due.skipped()
    for run in runs:
        due.dagster.report_run_failed(run)
    requests = due.requests()
    assert [keys(request) for request in requests] == [[ids[7]], [ids[9]]], "nothing is lost"


def test_leased_videos_wait_until_the_lease_is_over(due: Ticks, add: Add, library: Library) -> None:
    ids = add("mine", "free")
    now = datetime.now(UTC)
    change(library, ids[0], lease={"owner": "somebody|1|2|x", "until": now + timedelta(minutes=1)})
    assert [keys(request) for request in due.requests()] == [[ids[1]]]
    change(library, ids[0], lease={"owner": "somebody|1|2|x", "until": now - timedelta(seconds=1)})
    assert sorted(keys(due.requests()[0])) == sorted(ids)


def test_a_changed_setting_waits_for_a_person_and_is_named(
    due: Ticks, add: Add, settings: Settings, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = add("good", "fine")
    for _ in range(2):
        for request in due.requests():
            assert due.run(request).success
    assert due.skipped() == "Nothing is due."
    change_threshold(settings)
    said = "2 videos wait for `vidpipe run` or a backfill of parts: Threshold of [SceneDetection] changed."
    assert due.skipped() == said
    # A new name makes `length` due in one of them; its `parts` waits all the same.
    change(library, ids[0], stages__length__stale=True)
    (request,) = due.requests()
    assert config(request) == {"keys": [ids[0]], "stages": ["length"]}
    assert due.run(request).success
    assert due.skipped() == said
    assert len(calls(settings, "parts")) == 2
    monkeypatch.setenv("VIDPIPE_SENSORS_DESCRIBECHANGED", "yes")
    (request,) = due.requests()
    assert sorted(keys(request)) == sorted(ids)
    assert due.run(request).success
    assert due.skipped() == "Nothing is due."
    assert len(calls(settings, "parts")) == 4


def test_what_changed_is_not_named_where_nobody_saw_it_before(
    due: Ticks, add: Add, settings: Settings, library: Library
) -> None:
    add("good")
    run_process(load(settings.home).settings, graph=GRAPH, library=library)
    library.collections["lineage"].delete_many({"kind": "spec"})  # as in a library of an older version
    change_threshold(settings)
    assert due.skipped().startswith("1 video waits for `vidpipe run` or a backfill of parts: its settings,")


def test_a_transient_failure_is_tried_again_when_its_time_has_come(
    due: Ticks, add: Add, settings: Settings, library: Library
) -> None:
    (sha256,) = add("b")
    (settings.home / "busy-b").touch()
    due.run(due.requests()[0])
    assert due.skipped() == "Nothing is due."
    change(library, sha256, stages__length__next_try_at=datetime.now(UTC) - timedelta(seconds=1))
    (settings.home / "busy-b").unlink()
    (request,) = due.requests()
    assert due.run(request).success
    assert [request.job_name for request in due.requests()] == ["label_list"]


def test_lost_files_and_other_inputs_start_by_themselves(due: Ticks, add: Add, library: Library) -> None:
    ids = add("good", "fine", "still")
    run_process(load(library.settings.home).settings, graph=GRAPH, library=library)
    library.states.mark_missing("parts", [ids[0]])
    change(library, ids[1], stages__report__stale=True)
    requests = due.requests()
    assert {request.job_name: keys(request) for request in requests} == {
        "prepare_list": [ids[0]],
        "label_list": [ids[1]],
    }


def test_runs_that_bring_nothing_forward_are_launched_ever_more_rarely(
    due: Ticks, add: Add, library: Library, dagster: dg.DagsterInstance
) -> None:
    (sha256,) = add("good")
    for _ in range(2):  # a run that ended before it stored anything, as when its process was killed
        (request,) = due.requests()
        dagster.report_run_failed(due.queue(request))
    assert due.skipped() == "Nothing is due.", "half a minute's rest"
    note = library.collections["videos"].find_one({"_id": sha256})["launched"]["prepare"]  # type: ignore[index]
    assert note["times"] == 2
    assert timedelta(seconds=20) < note["next_at"] - datetime.now(UTC) <= timedelta(seconds=30)
    change(library, sha256, launched__prepare__next_at=datetime.now(UTC))
    (request,) = due.requests()
    note = library.collections["videos"].find_one({"_id": sha256})["launched"]["prepare"]  # type: ignore[index]
    assert note["next_at"] - note["at"] == timedelta(minutes=2)
    assert due.run(request).success
    change(library, sha256, stages__length__stale=True)
    assert keys(due.requests()[0]) == [sha256], "a launch that brought something is forgotten"


def test_a_stage_that_cannot_run_is_told_and_nothing_is_launched_for_it(
    library: Library, dagster: dg.DagsterInstance, settings: Settings, add: Add
) -> None:
    with Library.open(load(settings.home).settings, REAL) as real:
        due = Ticks(real, dagster, REAL, "due_videos")
        (sha256,) = add("clip.mp4")
        plan = Plan.make(REAL, load(settings.home).settings)
        for name, spec in plan.specs.items():
            if name not in ("tags", "categories"):
                entry = {"status": "ok", "ready": True, "stale": False, "spec": spec, "data": {}}
                change(real, sha256, **{f"stages__{name}": entry})
        new = {"status": "new", "ready": True, "stale": False, "spec": ""}
        change(real, sha256, stages__tags=new, stages__categories={**new, "ready": False})
        rules = settings.home / "rules" / "custom_tags.json"
        text = rules.read_text()
        rules.write_text(text[: len(text) // 2])
        said = due.skipped()
        assert said.startswith("Stage tags cannot run:")
        assert "custom_tags.json" in said
        change(real, sha256, stages__sentiment={**new})
        (request,) = due.requests()
        assert "tags" not in config(request)["stages"], "the stages that can run still do"
        rules.write_text(text)
        assert due.tick() is not None


def test_a_broken_config_ini_and_an_absent_server_are_told(
    due: Ticks, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = build_definitions(GRAPH, load(settings.home).settings).get_repository_def()
    resources = {"library": LibraryResource(home=str(settings.home))}

    def skipped() -> str:
        with dg.build_sensor_context(due.dagster, resources=resources, repository_def=repository) as context:
            return str(repository.get_sensor_def("due_videos").evaluate_tick(context).skip_message)

    monkeypatch.setenv("VIDPIPE_MONGODB_TIMEOUT", "1")
    monkeypatch.setenv("VIDPIPE_MONGODB_URI", "mongodb://127.0.0.1:9")
    assert "127.0.0.1:9" in skipped()
    (settings.home / "config.ini").write_text("[SceneDetection]\nDetector = magic\n")
    assert "Detector = magic" in skipped()
