"""Dagster's history after a clean-up: smaller, and every partition as it was."""

import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from vidpipe.library.library import Library
from vidpipe.pipeline.build import build_definitions
from vidpipe.pipeline.history_pruning import HistoryPruning
from vidpipe.pipeline.instance import dagster_home
from vidpipe.pipeline.launch import run_process
from vidpipe.pipeline.partitions import VIDEOS, add_videos
from vidpipe.retention.report import Pruned, prune
from vidpipe.settings import Settings
from vidpipe_tests.pipeline.test_jobs import run_job
from vidpipe_tests.runner.small_graph import GRAPH

Add = Callable[..., list[str]]
DAY_S = 86400.0
STATUSES = ("serialized_materialized_partition_subset", "serialized_failed_partition_subset",
            "serialized_in_progress_partition_subset")  # fmt: skip


def index_of(settings: Settings) -> Path:
    return dagster_home(settings) / "history" / "runs" / "index.db"


def make_old(settings: Settings, run_ids: list[str], days: float = 90) -> None:
    """Moves runs, their events and their files back in time."""
    past = days * DAY_S
    with sqlite3.connect(dagster_home(settings) / "history" / "runs.db") as runs:
        for run_id in run_ids:
            runs.execute(
                "update runs set start_time = start_time - ?, end_time = end_time - ?, update_timestamp ="
                " datetime(update_timestamp, ?), create_timestamp = datetime(create_timestamp, ?) where run_id = ?",
                (past, past, f"-{days} days", f"-{days} days", run_id),
            )
    with sqlite3.connect(index_of(settings)) as index:
        for run_id in run_ids:
            index.execute(
                "update event_logs set timestamp = strftime('%Y-%m-%d %H:%M:%f', timestamp, ?) where run_id = ?",
                (f"-{days} days", run_id),
            )


def states(dagster: dg.DagsterInstance, *, afresh: bool) -> dict[str, Any]:
    """What the page shows: of each asset the sets of green, red and unfinished partitions, and of each partition the
    latest events with their metadata. afresh: derived from the events alone, as after a change of the definitions."""
    shown: dict[str, Any] = {}
    for key in sorted(dagster.all_asset_keys(), key=str):
        if afresh:
            dagster.wipe_asset_cached_status([key])
        cached = get_and_update_asset_status_cache_value(dagster, key, VIDEOS, dagster)
        texts = {name: getattr(cached, name, None) for name in STATUSES}
        shown[key.to_user_string()] = {
            name: set(VIDEOS.deserialize_subset(text).get_partition_keys()) if text else set()
            for name, text in texts.items()
        }
        for partition in dagster.get_dynamic_partitions("videos"):
            for fetch in (dagster.fetch_materializations, dagster.fetch_observations):
                records = fetch(dg.AssetRecordsFilter(key, asset_partitions=[partition]), limit=1).records
                for record in records:
                    event = record.asset_materialization or record.asset_observation
                    shown[f"{key} {partition} {fetch.__name__}"] = (record.storage_id, record.run_id, event)
    return shown


def clean(dagster: dg.DagsterInstance, settings: Settings, *, dry_run: bool = False) -> dict[str, Pruned]:
    reports = prune(HistoryPruning(dagster, settings).kinds(), settings.data_directory / "run", dry_run=dry_run)
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
    runs, checks, observations. `evil` is red by an old run alone, `fine` once was."""
    ids = add("good", "evil", "fine", "late")
    add_videos(dagster, ids)
    (settings.home / "broken-fine").touch()
    gone = [run_job(dagster, settings, "prepare", ids[:3]).run_id]
    (settings.home / "broken-fine").unlink()
    (settings.home / "broken-evil").touch()
    run_process(settings, ids[:3], retry=True, force=GRAPH.names, graph=GRAPH, library=library)
    gone.append(dagster.get_run_ids(limit=1)[0])
    gone += materialize(dagster, settings, ids[:1])
    red = run_job(dagster, settings, "prepare", ids[:3])
    assert not red.success
    gone.append(run_job(dagster, settings, "label", ids[:1]).run_id)
    gone += [check(dagster, ids[0], passed) for passed in (True, False, True)]
    for text in ("first", "second"):
        dagster.report_runless_asset_event(dg.AssetObservation("length", partition=ids[1], description=text))
    make_old(settings, [*gone, red.run_id, ""])
    check(dagster, ids[2], True)
    for name in ("prepare", "label"):
        assert run_job(dagster, settings, name, partition_key=ids[0]).success
    run_process(settings, [ids[3]], graph=GRAPH, library=library)
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
    events = rows(index_of(settings))
    everything = content(settings)
    told = clean(dagster, settings, dry_run=True)
    assert content(settings) == everything, "a dry run changes nothing"
    reports = clean(dagster, settings)
    assert numbers(reports) == numbers(told), "and says the same numbers"
    assert runs(dagster) == young
    assert reports["runs"].count == len(gone)
    # two of what went were executions of a check
    assert rows(index_of(settings)) == events - reports["events"].count + 2
    assert states(dagster, afresh=False) == before
    assert states(dagster, afresh=True) == derived
    assert latest_checks(dagster, ids) == checks
    assert told["events"].count > 10
    assert told["run files"].count == len(gone)
    assert told["events"].oldest is not None
    assert time.time() - told["events"].oldest.timestamp() > 89 * DAY_S
    (note,) = reports["runs"].notes
    assert note == "1 old failed runs stay: partitions are red by them."
    again = clean(dagster, settings)
    assert [report.count for report in again.values()] == [0] * len(again)


def latest_checks(dagster: dg.DagsterInstance, ids: list[str]) -> Any:
    key = dg.AssetCheckKey(dg.AssetKey("length"), "right")
    infos = dagster.event_log_storage.get_asset_check_partition_info([key], partition_keys=ids)
    history = dagster.event_log_storage.get_asset_check_execution_history(key, limit=1)
    return sorted(infos, key=lambda info: str(info.partition_key)), [record.event for record in history]


def rows(path: Path) -> int:
    with sqlite3.connect(path) as events:
        return int(events.execute("select count(*) from event_logs").fetchone()[0])


def content(settings: Settings) -> dict[str, Any]:
    """Everything in Dagster's databases, and the names of all its files."""
    home = dagster_home(settings)
    names = [path.relative_to(home).as_posix() for path in home.rglob("*") if not path.name.endswith(("-wal", "-shm"))]
    found: dict[str, Any] = {"files": sorted(names)}
    for path in home.rglob("*.db"):
        with sqlite3.connect(path) as database:
            found[path.name] = list(database.iterdump())
    return found


def numbers(reports: dict[str, Pruned]) -> dict[str, Any]:
    return {kind: (report.count, report.size_bytes, report.oldest) for kind, report in reports.items()
            if kind != "space"}  # fmt: skip


def test_what_a_forgotten_run_left_goes_when_a_later_run_takes_its_place(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, worn: tuple[list[str], set[str]]
) -> None:
    ids, _ = worn
    clean(dagster, settings)
    materialize(dagster, settings, [ids[2]])
    for stage in GRAPH.names:
        records = dagster.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey(stage), [ids[2]]), limit=10).records
        assert len(records) == 2
    assert clean(dagster, settings)["events"].count == len(GRAPH.names)
    for stage in GRAPH.names:
        records = dagster.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey(stage), [ids[2]]), limit=10).records
        assert len(records) == 1


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
    with sqlite3.connect(dagster_home(settings) / "history" / "runs.db") as database:
        for kind in ("started", "queued"):
            database.execute("update runs set status = ? where run_id = ?", (kind.upper(), made[kind]))
        for key, status in (("open-backfill", "REQUESTED"), ("ended-backfill", "COMPLETED_SUCCESS")):
            database.execute(
                "insert into bulk_actions (key, status, timestamp, body) values (?, ?, '2020-01-01 00:00:00', 'x')",
                (key, status),
            )
    make_old(settings, list(made.values()))
    reports = clean(dagster, settings)
    left = {kind for kind, run_id in made.items() if run_id in runs(dagster)}
    assert left == {"started", "queued", "open backfill", "last"}
    assert reports["backfills"].count == 1
    assert [row[0] for row in backfills(settings)] == ["open-backfill"]


def materialize(dagster: dg.DagsterInstance, settings: Settings, ids: list[str]) -> list[str]:
    """All stages of neighbouring partitions, as a backfill does it: each is told, also what is current."""
    return [run_job(dagster, settings, step, ids).run_id for step in ("prepare", "label")]


def run_prepared(
    dagster: dg.DagsterInstance, settings: Settings, key: str, tags: dict[str, str]
) -> dg.ExecuteInProcessResult:
    job = build_definitions(GRAPH, settings).resolve_job_def("prepare")
    return job.execute_in_process(instance=dagster, partition_key=key, tags=tags)


def backfills(settings: Settings) -> list[Any]:
    with sqlite3.connect(dagster_home(settings) / "history" / "runs.db") as database:
        return database.execute("select key from bulk_actions").fetchall()


def test_a_sensor_that_counts_events_misses_none_after_a_clean_up(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good")
    run_process(settings, ids, graph=GRAPH, library=library)
    run_process(settings, ids, force=GRAPH.names, graph=GRAPH, library=library)
    first, second = dagster.get_run_ids()
    make_old(settings, [first, second])
    # as if a person had deleted it: nothing of it keeps the last event
    dagster.run_storage.delete_run(first)
    seen = dagster.event_log_storage.get_maximum_record_id()
    clean(dagster, settings)
    assert dagster.event_log_storage.get_maximum_record_id() == seen
    run_process(settings, ids, force=["length"], graph=GRAPH, library=library)
    changes = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_SUCCESS, after_storage_id=seen)
    assert len(dagster.fetch_run_status_changes(changes, limit=10).records) == 1


def test_the_log_of_an_old_failed_run_that_stays_keeps_its_error_and_loses_its_bulk(
    settings: Settings, dagster: dg.DagsterInstance, worn: tuple[list[str], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidpipe.pipeline.history_pruning.run_files._THIN_BYTES", 0)
    (red,) = [run.run_id for run in dagster.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
              if run.run_id not in worn[1]]  # fmt: skip
    shard = index_of(settings).with_name(f"{red}.db")
    before = rows(shard)
    clean(dagster, settings)
    types = {record.event_log_entry.dagster_event_type for record in dagster.get_records_for_run(red).records}
    assert dg.DagsterEventType.STEP_FAILURE in types
    assert dg.DagsterEventType.ASSET_MATERIALIZATION not in types
    assert rows(shard) < before


def test_ticks_go_by_age_also_those_of_sensors_that_are_no_more(
    settings: Settings, dagster: dg.DagsterInstance
) -> None:
    schedules = dagster_home(settings) / "schedules" / "schedules.db"
    with sqlite3.connect(schedules) as database:
        for sensor in ("here", "gone"):
            for day in (10, 5, 4, 1) if sensor == "here" else (10, 5):
                database.execute(
                    "insert into job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body)"
                    " values (?, ?, 'SKIPPED', 'SENSOR', datetime('now', ?), 'body')",
                    (sensor, sensor, f"-{day} days"),
                )
    assert clean(dagster, settings)["ticks"].count == 4
    with sqlite3.connect(schedules) as database:
        left = database.execute("select selector_id, count(*) from job_ticks group by 1 order by 1").fetchall()
    assert left == [("gone", 1), ("here", 1)]


def test_space_goes_back_to_the_disk_while_others_write(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add(*(f"video {number}" for number in range(40)))
    add_videos(dagster, ids)
    run_ids = [run_id for _ in range(4) for run_id in materialize(dagster, settings, ids)]
    with sqlite3.connect(index_of(settings)) as index:
        index.execute("pragma wal_checkpoint(truncate)")
    full = index_of(settings).stat().st_size
    make_old(settings, run_ids[:-2])
    clean(dagster, settings)  # the first one makes the file one that can be cut
    once = index_of(settings).stat().st_size
    assert once < 0.75 * full
    materialize(dagster, settings, ids)
    with sqlite3.connect(index_of(settings)) as index:
        index.execute("pragma wal_checkpoint(truncate)")
    grown = index_of(settings).stat().st_size
    make_old(settings, run_ids[-2:])
    stop = threading.Event()
    waits: list[float] = []
    writer = threading.Thread(target=write_on, args=(index_of(settings), stop, waits))
    writer.start()
    clean(dagster, settings)
    stop.set()
    writer.join()
    assert index_of(settings).stat().st_size < 0.75 * grown
    assert waits, "others could write meanwhile"


def write_on(path: Path, stop: threading.Event, waits: list[float]) -> None:
    """Writes as Dagster's daemon does, with its patience."""
    while not stop.is_set():
        with sqlite3.connect(path, timeout=5) as database:
            began = time.monotonic()
            database.execute("update asset_keys set last_run_id = last_run_id")
            waits.append(time.monotonic() - began)
        time.sleep(0.01)
