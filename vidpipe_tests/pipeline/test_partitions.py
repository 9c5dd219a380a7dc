"""A library with more videos than may be partitions: which ones are, and what the others lose."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from vidpipe.library.library import Library
from vidpipe.operations.retention import PruneReport
from vidpipe.pipeline.clean_up import report_results_again
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.partitions import KEPT_DAYS, VideoPartitions, add_videos
from vidpipe.runner.request import RunRequest
from vidpipe.settings import Settings
from vidpipe.settings.cluster import Cluster
from vidpipe_tests.pipeline.test_jobs import run_job
from vidpipe_tests.pipeline.test_process import GREEN, colors
from vidpipe_tests.runner.small_graph import GRAPH

Add = Callable[..., list[str]]
LIMIT = 5
NAMES = tuple(f"video {number}" for number in range(12))


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("VIDPIPE_CLUSTER_MAXPARTITIONS", str(LIMIT))
    return settings.model_copy(update={"cluster": Cluster(max_partitions=LIMIT)})


@pytest.fixture
def ids(library: Library, add: Add) -> list[str]:
    """Twelve videos, each added a second after the one before."""
    found = add(*NAMES)
    began = datetime.now(UTC) - timedelta(hours=1)
    for number, sha256 in enumerate(found):
        at = {"$set": {"added_at": began + timedelta(seconds=number)}}
        library.collections["videos"].update_one({"_id": sha256}, at)
    return found


def shown(dagster: dg.DagsterInstance) -> set[str]:
    return set(dagster.get_dynamic_partitions("videos"))


def trim(dagster: dg.DagsterInstance, library: Library, **how: float) -> PruneReport:
    report = PruneReport("partitions")
    VideoPartitions(dagster, library).trim(report, **how)  # type: ignore[arg-type]
    return report


def test_the_newest_and_all_that_failed_stay(library: Library, dagster: dg.DagsterInstance, ids: list[str]) -> None:
    videos = library.collections["videos"]
    videos.update_one({"_id": ids[0]}, {"$set": {"stages.parts.status": "failed"}})
    videos.update_one({"_id": ids[1]}, {"$set": {"stages.report.status": "quarantined"}})
    videos.update_one({"_id": ids[2]}, {"$set": {"partition_since": datetime.now(UTC) - timedelta(days=1)}})
    long_ago = datetime.now(UTC) - timedelta(days=KEPT_DAYS + 1)
    videos.update_one({"_id": ids[3]}, {"$set": {"partition_since": long_ago}})
    add_videos(dagster, ids)
    assert trim(dagster, library, dry_run=True).count == 4
    assert shown(dagster) == set(ids)
    assert trim(dagster, library, tolerance=3.0).count == 0
    assert trim(dagster, library, max_s=-1.0).notes
    assert trim(dagster, library).count == 4
    assert shown(dagster) == {*ids[:3], *ids[-LIMIT:]}
    assert trim(dagster, library).count == 0
    assert VideoPartitions(dagster, library).add(ids) == {*ids[:3], *ids[-LIMIT:]}
    assert shown(dagster) == {*ids[:3], *ids[-LIMIT:]}


def test_what_runs_and_backfills_use_stays(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, ids: list[str]
) -> None:
    add_videos(dagster, ids)

    def begin(**arguments: object) -> dg.DagsterRun:
        run = dagster.create_run_for_job(job, **arguments)  # type: ignore[arg-type]
        dagster.report_run_canceling(run)
        return run

    @dg.job
    def job() -> None:
        pass

    of_one = begin(tags={"dagster/partition": ids[0]})
    of_range = begin(tags={"dagster/asset_partition_range_start": ids[2], "dagster/asset_partition_range_end": ids[4]})
    backfill = PartitionBackfill(
        backfill_id="one", status=BulkActionStatus.REQUESTED, from_failure=False, tags={}, backfill_timestamp=1.0,
        partition_names=[], serialized_asset_backfill_data=None,
    )  # fmt: skip
    dagster.add_backfill(backfill)
    report = trim(dagster, library)
    assert (report.count, bool(report.notes)) == (0, True)
    dagster.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert trim(dagster, library).count == 3
    assert shown(dagster) == {ids[0], *ids[2:5], *ids[-LIMIT:]}
    for run in (of_one, of_range):
        dagster.report_run_canceled(run)
    assert trim(dagster, library).count == 4


def test_results_beyond_the_limit_are_stored_and_come_back_to_dagster_by_name(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, ids: list[str]
) -> None:
    (settings.home / f"broken-{NAMES[1]}").touch()
    report = run_process(settings, RunRequest(videos=ids), graph=GRAPH, library=library)
    assert [event.sha256 for event in report.failures] == [ids[1]]
    assert library.collections["videos"].count_documents({"stages.report.status": "ok"}) == 11
    assert shown(dagster) == {ids[1], *ids[-LIMIT:]}
    assert colors(dagster, "report", ids) == [None] * 7 + [GREEN] * 5
    run_job(dagster, settings, "clean_up")
    assert shown(dagster) == {ids[1], *ids[-LIMIT:]}, "nothing adds the others by itself"
    library.collections["videos"].update_one({"_id": ids[0]}, {"$set": {"partition_since": datetime.now(UTC)}})
    report_results_again(settings, library, ids[:1])
    assert colors(dagster, "report", ids) == [GREEN] + [None] * 6 + [GREEN] * 5
    assert shown(dagster) == {*ids[:2], *ids[-LIMIT:]}


@pytest.mark.soak
def test_the_clean_up_adds_what_a_higher_limit_allows_and_removes_what_a_lower_one_does_not(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in (12, 2, 7):
        monkeypatch.setenv("VIDPIPE_CLUSTER_MAXPARTITIONS", str(limit))
        assert run_job(dagster, settings, "clean_up").success
        assert shown(dagster) == set(ids[-limit:])


def test_events_of_partitions_that_do_not_exist_do_no_harm(dagster: dg.DagsterInstance, ids: list[str]) -> None:
    add_videos(dagster, ids[1:])
    for sha256 in ids[:2]:
        dagster.report_runless_asset_event(dg.AssetMaterialization("length", partition=sha256))
    assert colors(dagster, "length", ids[:3]) == [None, GREEN, None]
    add_videos(dagster, ids[:1])
    assert colors(dagster, "length", ids[:3]) == [GREEN, GREEN, None]
