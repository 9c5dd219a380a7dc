"""Dagster's history after a clean-up: smaller, and every partition as it was."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from vidpipe.library.library import Library
from vidpipe.pipeline.clean_up import History
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
        shown[key.to_user_string()] = {
            name: VIDEOS.deserialize_subset(text).get_partition_keys() if (text := getattr(cached, name)) else []
            for name in STATUSES
        } if cached else None  # fmt: skip
        for partition in dagster.get_dynamic_partitions("videos"):
            for fetch in (dagster.fetch_materializations, dagster.fetch_observations):
                records = fetch(dg.AssetRecordsFilter(key, asset_partitions=[partition]), limit=1).records
                for record in records:
                    event = record.asset_materialization or record.asset_observation
                    shown[f"{key} {partition} {fetch.__name__}"] = (record.storage_id, record.run_id, event)
    return shown


def clean(dagster: dg.DagsterInstance, settings: Settings, *, dry_run: bool = False) -> dict[str, Pruned]:
    reports = prune(History(dagster, settings).kinds(), settings.data_directory / "run", dry_run=dry_run)
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
    for _ in range(3):
        run_process(settings, ids[:3], retry=True, force=GRAPH.names, graph=GRAPH, library=library)
        gone.append(dagster.get_run_ids(limit=1)[0])
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
    assert derived["length"][STATUSES[1]] == [ids[1]], "evil is red, and fine is not any more"
    checks = latest_checks(dagster, ids)
    young = runs(dagster) - gone
    events = rows(settings, "event_logs")
    reports = clean(dagster, settings)
    assert runs(dagster) == young
    assert reports["runs"].count == len(gone)
    assert rows(settings, "event_logs") == events - reports["events"].count + 2  # two check executions are no events
    assert states(dagster, afresh=False) == before
    assert states(dagster, afresh=True) == derived
    assert latest_checks(dagster, ids) == checks
    (note,) = reports["runs"].notes
    assert note == "1 old failed runs stay: partitions are red by them."


def latest_checks(dagster: dg.DagsterInstance, ids: list[str]) -> Any:
    key = dg.AssetCheckKey(dg.AssetKey("length"), "right")
    infos = dagster.event_log_storage.get_asset_check_partition_info([key], partition_keys=ids)
    history = dagster.event_log_storage.get_asset_check_execution_history(key, limit=1)
    return sorted(infos, key=lambda info: str(info.partition_key)), [record.event for record in history]


def rows(settings: Settings, table: str) -> int:
    with sqlite3.connect(index_of(settings)) as index:
        return int(index.execute(f"select count(*) from {table}").fetchone()[0])
