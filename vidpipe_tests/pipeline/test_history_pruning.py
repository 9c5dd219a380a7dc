"""Dagster's history after a clean-up: smaller, and every partition as it was."""

import os
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from vidpipe.library.library import Library
from vidpipe.operations.retention import PruneReport, prune
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.build import build_definitions
from vidpipe.pipeline.history_pruning import HistoryPruning
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.partitions import VIDEOS, add_videos
from vidpipe.runner.request import RunRequest
from vidpipe.settings import Settings
from vidpipe_tests.pipeline.test_jobs import run_job
from vidpipe_tests.pipeline.test_process import GREEN, RED, colors, materializations
from vidpipe_tests.runner.small_graph import GRAPH

Add = Callable[..., list[str]]
DAY_S = 86400.0
STATUSES = ("serialized_materialized_partition_subset", "serialized_failed_partition_subset",
            "serialized_in_progress_partition_subset")  # fmt: skip


def index_of(settings: Settings) -> Path:
    return dagster_home(settings) / "history" / "runs" / "index.db"


def make_old(settings: Settings, run_ids: list[str], days: float = 90) -> None:
    """Moves runs, their events and their files back in time, each run a second later than the one before."""
    past = days * DAY_S
    with sqlite3.connect(dagster_home(settings) / "history" / "runs.db") as runs:
        for place, run_id in enumerate(run_ids):
            runs.execute(
                "update runs set start_time = start_time - ?, end_time = end_time - ?, update_timestamp ="
                " datetime(update_timestamp, ?), create_timestamp = datetime(create_timestamp, ?) where run_id = ?",
                (past, past, f"{place - days * DAY_S} seconds", f"-{days} days", run_id),
            )
    with sqlite3.connect(index_of(settings)) as index:
        for run_id in run_ids:
            index.execute(
                "update event_logs set timestamp = strftime('%Y-%m-%d %H:%M:%f', timestamp, ?) where run_id = ?",
                (f"-{days} days", run_id),
            )


def states(dagster: dg.DagsterInstance, *, afresh: bool) -> dict[str, Any]:
    """What the page shows: of each asset the sets of green, red and unfinished partitions, of each partition the last
    result, and why a red one has none. afresh: derived from the events alone, as after a change of the definitions."""
    shown: dict[str, Any] = {}
    for key in sorted(dagster.all_asset_keys(), key=str):
        if afresh:
            dagster.wipe_asset_cached_status([key])
        cached = get_and_update_asset_status_cache_value(dagster, key, VIDEOS, dagster)
        texts = {name: getattr(cached, name, None) for name in STATUSES}
        subsets = {
            name: set(VIDEOS.deserialize_subset(text).get_partition_keys()) if text else set()
            for name, text in texts.items()
        }
        shown[key.to_user_string()] = subsets
        for partition in dagster.get_dynamic_partitions("videos"):
            only = dg.AssetRecordsFilter(key, asset_partitions=[partition])
            for record in dagster.fetch_materializations(only, limit=1).records:
                shown[f"{key} {partition} made"] = without_report(record.asset_materialization)
            if partition in subsets[STATUSES[1]]:
                (record,) = dagster.fetch_observations(only, limit=1).records
                shown[f"{key} {partition} failed"] = without_report(record.asset_observation)
    return shown


def without_report(event: dg.AssetMaterialization | dg.AssetObservation | None) -> Any:
    assert event is not None
    return {name: value for name, value in event.metadata.items() if name != "reported_at"}, event.tags


def clean(
    dagster: dg.DagsterInstance, settings: Settings, *, dry_run: bool = False, max_duration_s: float = 60
) -> dict[str, PruneReport]:
    kinds = HistoryPruning(dagster, settings, max_duration_s).kinds()
    reports = prune(kinds, settings.data_directory / "run", dry_run=dry_run)
    assert [report.error for report in reports] == [""] * len(reports)
    return {report.kind: report for report in reports}


def runs(dagster: dg.DagsterInstance) -> set[str]:
    return set(dagster.get_run_ids())


def check(dagster: dg.DagsterInstance, partition: str, passed: bool) -> str:
    @dg.op
    def look(context: dg.OpExecutionContext) -> None:
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("length"), check_name="right", passed=passed, partition=partition
        )
        context.log_event(evaluation)

    @dg.job
    def checking() -> None:
        look()

    return checking.execute_in_process(instance=dagster).run_id


@pytest.fixture
def worn(settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance) -> tuple[list[str], set[str]]:
    """(videos, runs that can go) of a history with everything in it: recomputed and failed partitions, old and young
    runs, checks, observations. `evil` is red by an old run alone, which stays with the one that holds its last result;
    `fine` once was red."""
    ids = add("good", "evil", "fine", "late")
    add_videos(dagster, ids)
    (settings.home / "broken-fine").touch()
    last_result = run_job(dagster, settings, "prepare", ids[:3]).run_id
    (settings.home / "broken-fine").unlink()
    (settings.home / "broken-evil").touch()
    run_process(settings, RunRequest(videos=ids[:3], retry=True, force=GRAPH.names), graph=GRAPH, library=library)
    gone = [dagster.get_run_ids(limit=1)[0]]
    gone += materialize(dagster, settings, ids[:1])
    red = run_job(dagster, settings, "prepare", ids[:3])
    assert not red.success
    gone.append(run_job(dagster, settings, "label", ids[:1]).run_id)
    gone += [check(dagster, ids[0], passed) for passed in (True, False, True)]
    for text in ("first", "second"):
        dagster.report_runless_asset_event(dg.AssetObservation("length", partition=ids[1], description=text))
    make_old(settings, [*gone, last_result, red.run_id, ""])
    check(dagster, ids[2], True)
    for name in ("prepare", "label"):
        assert run_job(dagster, settings, name, partition_key=ids[0]).success
    run_process(settings, RunRequest(videos=[ids[3]]), graph=GRAPH, library=library)
    return ids, set(gone)


def test_every_partition_is_as_it_was_and_old_runs_are_gone(
    settings: Settings, dagster: dg.DagsterInstance, worn: tuple[list[str], set[str]]
) -> None:
    ids, gone = worn
    before = states(dagster, afresh=False)
    derived = states(dagster, afresh=True)
    assert derived["length"][STATUSES[1]] == {ids[1]}, "evil is red, and fine is not any more"
    checks = latest_checks(dagster, ids)
    young = runs(dagster) - gone
    everything = content(settings)
    planned = clean(dagster, settings, dry_run=True)
    assert content(settings) == everything, "a dry run changes nothing"
    reports = clean(dagster, settings)
    assert numbers(reports) == numbers(planned), "and reports the same numbers"
    assert runs(dagster) == young
    assert reports["runs"].count == len(gone)
    assert states(dagster, afresh=False) == before
    assert states(dagster, afresh=True) == derived
    assert latest_checks(dagster, ids) == checks
    assert reports["runs"].size_bytes > 10_000 * len(gone)
    assert reports["runs"].oldest is not None
    assert time.time() - reports["runs"].oldest.timestamp() > 89 * DAY_S
    assert "2 old runs stay: failed partitions need them." in reports["runs"].notes
    again = clean(dagster, settings)
    assert [report.count for report in again.values()] == [0] * len(again)


def latest_checks(dagster: dg.DagsterInstance, ids: list[str]) -> Any:
    key = dg.AssetCheckKey(dg.AssetKey("length"), "right")
    infos = dagster.event_log_storage.get_asset_check_partition_info([key], partition_keys=ids)
    history = dagster.event_log_storage.get_asset_check_execution_history(key, limit=1)
    return sorted(infos, key=lambda info: str(info.partition_key)), [record.event for record in history]


def content(settings: Settings) -> dict[str, Any]:
    """Everything in Dagster's databases, and the names of all its files."""
    home = dagster_home(settings)
    names = [path.relative_to(home).as_posix() for path in home.rglob("*") if not path.name.endswith(("-wal", "-shm"))]
    found: dict[str, Any] = {"files": sorted(names)}
    for path in home.rglob("*.db"):
        with sqlite3.connect(path) as database:
            found[path.name] = list(database.iterdump())
    return found


def numbers(reports: dict[str, PruneReport]) -> dict[str, Any]:
    return {kind: (report.count, report.size_bytes, report.oldest) for kind, report in reports.items()}


def test_events_of_a_removed_video_go_with_their_runs(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good", "fine")
    add_videos(dagster, ids)
    old, _ = (run_job(dagster, settings, "prepare", partition_key=key).run_id for key in ids)
    make_old(settings, [old])
    dagster.delete_dynamic_partition("videos", ids[0])
    clean(dagster, settings)
    assert [event.partition for event in materializations(dagster, "length")] == [ids[1]]


def test_a_large_history_is_pruned_over_several_nights(
    settings: Settings, dagster: dg.DagsterInstance, worn: tuple[list[str], set[str]]
) -> None:
    before = runs(dagster)
    reports = clean(dagster, settings, max_duration_s=0)
    assert runs(dagster) == before
    assert any("are left for the next clean-up" in note for note in reports["runs"].notes)


def test_a_result_of_a_partition_in_progress_stays_where_it_is(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    """Reported again, it would be newer than what the run in progress has planned: its failure would not show."""
    ids = add("good")
    add_videos(dagster, ids)
    assert run_job(dagster, settings, "prepare", partition_key=ids[0]).success
    (settings.home / "broken-good").touch()
    config = {"ops": {"prepare_videos": {"config": {"force": True}}}}
    second = run_job(dagster, settings, "prepare", partition_key=ids[0], run_config=config).run_id
    run_job(dagster, settings, "label", ids)
    (first,) = runs(dagster) - {second, dagster.get_run_ids(limit=1)[0]}
    make_old(settings, [first])
    set_status(settings, second, "STARTED")
    dagster.wipe_asset_cached_status([dg.AssetKey("length")])
    assert clean(dagster, settings)["runs"].count == 0
    set_status(settings, second, "FAILURE")
    assert clean(dagster, settings)["runs"].count == 0, "now it is the last result of a failed partition"
    assert colors(dagster, "length", ids) == [RED]


def set_status(settings: Settings, run_id: str, status: str) -> None:
    with sqlite3.connect(dagster_home(settings) / "history" / "runs.db") as database:
        database.execute("update runs set status = ? where run_id = ?", (status, run_id))
        database.execute(
            "update runs set run_body = json_set(run_body, '$.status.__enum__', ?) where run_id = ?",
            (f"DagsterRunStatus.{status}", run_id),
        )


def test_logs_and_output_of_forgotten_runs_go_with_what_earlier_clean_ups_left(
    settings: Settings, dagster: dg.DagsterInstance, worn: tuple[list[str], set[str]]
) -> None:
    home = dagster_home(settings)
    (young,) = [run.run_id for run in dagster.get_runs(limit=1)]
    strays = {name: home / "history" / "runs" / f"{uuid.uuid4()}.db" for name in ("old", "young")}
    outputs = {run_id: home / "storage" / run_id / "compute_logs" / "x.err" for run_id in (*worn[1], young)}
    for path in (*strays.values(), *outputs.values()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
    os.utime(strays["old"], (0, time.time() - 90 * DAY_S))
    (home / "storage" / "my own folder").mkdir()
    clean(dagster, settings)
    kept = {path.name for path in (home / "storage").iterdir()}
    assert kept == {young, "my own folder"}
    shards = {path.stem for path in (home / "history" / "runs").glob("*.db")} - {"index", ".db"}
    assert shards == runs(dagster) | {strays["young"].stem}


def test_unfinished_runs_and_those_of_unfinished_backfills_stay(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good")
    add_videos(dagster, ids)
    kinds = ("started", "queued", "open backfill", "ended backfill", "alone", "last")
    made: dict[str, str] = {}
    for kind in kinds:
        tags = {"dagster/backfill": kind.replace(" ", "-")} if "backfill" in kind else {}
        made[kind] = run_prepared(dagster, settings, ids[0], tags).run_id
    for kind in ("started", "queued"):
        set_status(settings, made[kind], kind.upper())
    for key, status in (("open-backfill", "REQUESTED"), ("ended-backfill", "COMPLETED_SUCCESS")):
        dagster.add_backfill(
            PartitionBackfill(
                backfill_id=key,
                status=BulkActionStatus[status],
                from_failure=False,
                tags={},
                backfill_timestamp=1.0,
            )
        )
    make_old(settings, list(made.values()))
    clean(dagster, settings)
    left = {kind for kind, run_id in made.items() if run_id in runs(dagster)}
    assert left == {"started", "queued", "open backfill", "last"}


def materialize(dagster: dg.DagsterInstance, settings: Settings, ids: list[str]) -> list[str]:
    """All stages of neighbouring partitions, as a backfill does it: each is reported, also what is current."""
    return [run_job(dagster, settings, step, ids).run_id for step in ("prepare", "label")]


def run_prepared(
    dagster: dg.DagsterInstance, settings: Settings, key: str, tags: dict[str, str]
) -> dg.ExecuteInProcessResult:
    job = build_definitions(GRAPH, settings).resolve_job_def("prepare")
    return job.execute_in_process(instance=dagster, partition_key=key, tags=tags)


def test_a_sensor_that_counts_events_misses_none_after_a_clean_up(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good")
    run_process(settings, RunRequest(videos=ids), graph=GRAPH, library=library)
    run_process(settings, RunRequest(videos=ids, force=GRAPH.names), graph=GRAPH, library=library)
    first, second = dagster.get_run_ids()
    make_old(settings, [first, second])
    # as if a person had deleted it: nothing of it keeps the last event
    dagster.run_storage.delete_run(first)
    seen = dagster.event_log_storage.get_maximum_record_id()
    clean(dagster, settings)
    assert dagster.event_log_storage.get_maximum_record_id() == seen
    run_process(settings, RunRequest(videos=ids, force=["length"]), graph=GRAPH, library=library)
    changes = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_SUCCESS, after_storage_id=seen)
    assert len(dagster.fetch_run_status_changes(changes, limit=10).records) == 1


def test_an_old_failed_run_that_a_failed_partition_needs_keeps_its_log(
    settings: Settings, dagster: dg.DagsterInstance, worn: tuple[list[str], set[str]]
) -> None:
    red, _ = [run.run_id for run in dagster.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
              if run.run_id not in worn[1]]  # fmt: skip
    clean(dagster, settings)
    types = {record.event_log_entry.dagster_event_type for record in dagster.get_records_for_run(red).records}
    assert dg.DagsterEventType.STEP_FAILURE in types


def test_ticks_go_by_age_also_those_of_sensors_that_no_longer_exist(
    settings: Settings, dagster: dg.DagsterInstance
) -> None:
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="vidpipe"))
    left = {}
    for sensor in ("here", "gone"):
        origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "repository"), sensor)
        state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData())
        dagster.add_instigator_state(state)
        ids = (state.instigator_origin_id, state.selector_id)
        for day in (10, 5, 4, 1) if sensor == "here" else (10, 5):
            at = time.time() - day * DAY_S
            dagster.create_tick(
                TickData(ids[0], sensor, InstigatorType.SENSOR, TickStatus.SKIPPED, at, selector_id=ids[1])
            )
        left[sensor] = ids
    planned = clean(dagster, settings, dry_run=True)["ticks"]
    done = clean(dagster, settings)["ticks"]
    assert (planned.count, done.count) == (4, 4)
    assert {sensor: len(dagster.get_ticks(*ids)) for sensor, ids in left.items()} == {"here": 1, "gone": 1}


PICTURE = "![thumbnail](data:image/jpeg;base64,AAAA)"


def old_version_run(dagster: dg.DagsterInstance, green: list[str], red: str) -> str:
    """A run of the job `process` as the previous version wrote it: names and pictures in the events, and a planned
    materialization for what failed."""

    @dg.op
    def process_videos(context: dg.OpExecutionContext) -> None:
        for number, video in enumerate(green):
            context.log_event(
                dg.AssetMaterialization(
                    "length",
                    partition=video,
                    description="Telltale.mp4: computed",
                    metadata={
                        "thumbnail": dg.MetadataValue.md(PICTURE), "letters": number, "file": "Telltale.mp4",
                        "work": "computed", "tags": "a telltale word",
                    },
                    tags={"dagster/data_version": f"version{number}", "dagster/code_version": "1"},
                )
            )  # fmt: skip
        planned = AssetMaterializationPlannedData(dg.AssetKey("length"), partition=red)
        event = DagsterEvent.build_asset_materialization_planned_event(context.job_name, "process_videos", planned)
        dagster.report_dagster_event(event, context.run_id)
        raise dg.Failure("1 of 3 videos failed; the others are done.", allow_retries=False)

    @dg.job
    def process() -> None:
        process_videos()

    return process.execute_in_process(instance=dagster, raise_on_error=False).run_id


def test_a_history_of_the_previous_version_continues(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good", "fine", "evil")
    add_videos(dagster, ids)
    (settings.home / "broken-evil").touch()
    gone = old_version_run(dagster, [], ids[2])
    kept = old_version_run(dagster, ids[:2], ids[2])
    assert colors(dagster, "length", ids) == [GREEN, GREEN, RED]
    make_old(settings, [kept, gone])
    run_process(settings, RunRequest(videos=ids[:2]), graph=GRAPH, library=library)
    assert colors(dagster, "parts", ids[:2]) == [GREEN, GREEN]
    clean(dagster, settings)
    assert runs(dagster) & {kept, gone} == {kept}, "a partition is red by it"
    assert colors(dagster, "length", ids) == [GREEN, GREEN, RED]

    (settings.home / "broken-evil").unlink()
    run_process(settings, RunRequest(videos=ids, retry=True), graph=GRAPH, library=library)
    assert colors(dagster, "length", ids) == [GREEN, GREEN, GREEN]
    clean(dagster, settings)
    assert kept not in runs(dagster)
    assert colors(dagster, "length", ids) == [GREEN, GREEN, GREEN]


def test_a_result_of_the_previous_version_is_reported_again_without_name_and_picture(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good", "fine", "evil")
    add_videos(dagster, ids)
    old = old_version_run(dagster, ids[:2], ids[2])
    run_process(settings, RunRequest(videos=[ids[2]], stages=["length"]), graph=GRAPH, library=library)
    make_old(settings, [old])
    clean(dagster, settings)
    assert old not in runs(dagster)
    assert colors(dagster, "length", ids) == [GREEN, GREEN, GREEN]
    made = {event.partition: event for event in materializations(dagster, "length")}
    assert (made[ids[1]].tags or {})["dagster/data_version"] == "version1"
    assert set(made[ids[1]].metadata) == {"letters", "work", "reported_at"}
    assert made[ids[1]].description == f"Video {ids[1][:12]}: computed"
