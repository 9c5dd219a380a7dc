"""The job `process`, run in the caller's own process: one history, truth per video, nothing twice, clean ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from vidpipe.errors import SettingsError
from vidpipe.library.library import Library
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.instance import instance
from vidpipe.pipeline.partitions import VIDEOS
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.settings import Settings
from vidpipe.stages.events import NullObserver, StageEvent
from vidpipe_tests.end_to_end.home import wait_for
from vidpipe_tests.runner.small_graph import GRAPH, calls

GREEN, RED = "MATERIALIZED", "FAILED"
STARTED = dg.DagsterRunStatus.STARTED
Add = Callable[..., list[str]]


def colors(dagster: dg.DagsterInstance, stage: str, ids: list[str]) -> list[str | None]:
    """What Dagster's page shows for each video."""
    found = dagster.get_status_by_partition(dg.AssetKey(stage), ids, VIDEOS)
    return [status.value if (status := (found or {}).get(key)) else None for key in ids]


def failed_videos(dagster: dg.DagsterInstance, stage: str) -> dict[str, str]:
    """The videos and messages that the stage's check `videos_succeeded` lists; empty if it passed."""
    key = dg.AssetCheckKey(dg.AssetKey(stage), "videos_succeeded")
    (record,) = dagster.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None
    assert record.event.dagster_event is not None
    evaluation = record.event.dagster_event.asset_check_evaluation_data
    listed = evaluation.metadata["videos"].value if "videos" in evaluation.metadata else {}
    assert evaluation.passed == (not listed)
    assert evaluation.metadata["failed"].value == len(listed)
    return dict(listed)


def materializations(dagster: dg.DagsterInstance, stage: str) -> list[dg.AssetMaterialization]:
    records = dagster.fetch_materializations(dg.AssetKey(stage), limit=1000).records
    found = [record.asset_materialization for record in records]
    return [materialization for materialization in found if materialization]


def test_good_videos_are_green_and_the_broken_one_red(settings: Settings, library: Library, add: Add) -> None:
    ids = add("good", "evil", "fine")
    (settings.home / "broken-evil").touch()
    report = run_process(settings, graph=GRAPH, library=library)
    assert report.total("failed") == 1
    assert report.total("computed") == 6
    with instance(settings) as dagster:
        (run,) = dagster.get_runs()
        assert run.job_name == "process"
        assert run.status == dg.DagsterRunStatus.FAILURE
        assert colors(dagster, "length", ids) == [GREEN, None, GREEN]
        message = f"video {ids[1][:12]} cannot be measured. Mend it."
        assert failed_videos(dagster, "length") == {ids[1]: message}, "no partition was planned: the check is red"
        assert failed_videos(dagster, "parts") == {}
        assert colors(dagster, "parts", ids) == [GREEN, None, GREEN]
        assert colors(dagster, "report", ids) == [GREEN, None, GREEN]
        assert set(dagster.get_dynamic_partitions("videos")) == set(ids)
        (failure,) = dagster.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        assert failure.dagster_event is not None
        data = failure.dagster_event.step_failure_data.user_failure_data
        assert data is not None
        assert data.description is not None
        assert "1 of 3 videos failed; the others are done." in data.description
        assert message in data.description


def test_a_materialisation_carries_versions_and_figures_but_no_name(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    add("good")
    run_process(settings, graph=GRAPH, library=library)
    (made,) = materializations(dagster, "length")
    assert "file" not in made.metadata
    assert made.metadata["run"].value == dagster.get_runs()[0].run_id
    assert made.metadata["work"].value == "computed"
    assert made.metadata["seconds"].value >= 0
    assert made.tags is not None
    assert made.tags["dagster/code_version"] == "1"
    assert len(made.tags["dagster/data_version"]) == 16


def test_a_second_run_computes_nothing_and_leaves_no_trace_in_dagster(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good", "fine")
    run_process(settings, graph=GRAPH, library=library)
    again = run_process(settings, graph=GRAPH, library=library)
    assert (again.videos, again.ok) == (0, True)
    given = run_process(settings, RunRequest(videos=ids), graph=GRAPH, library=library)
    assert given.total("current") == 6
    assert len(dagster.get_runs()) == 1
    assert sorted(calls(settings, "length")) == sorted(ids)


def test_nothing_due_is_found_without_loading_dagster(settings: Settings, library: Library) -> None:
    code = (
        "import sys; from vidpipe.settings import load; from vidpipe.pipeline.in_process_run import run_process;"
        "from vidpipe_tests.runner.small_graph import GRAPH;"
        "report = run_process(load().settings, graph=GRAPH); assert report.ok and report.videos == 0;"
        "sys.exit('dagster' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0


def test_only_the_chosen_videos_and_stages_are_run(settings: Settings, library: Library, add: Add) -> None:
    ids = add("good", "fine", "best")
    run_process(settings, RunRequest(videos=ids[:2], stages=["length"]), graph=GRAPH, library=library)
    assert sorted(calls(settings, "length")) == sorted(ids[:2])
    assert calls(settings, "parts") == []
    with instance(settings) as dagster:
        assert sorted(dagster.get_dynamic_partitions("videos")) == sorted(ids[:2])
        assert len(materializations(dagster, "length")) == 2


def test_a_retry_makes_the_red_video_green(settings: Settings, library: Library, add: Add) -> None:
    ids = add("evil")
    (settings.home / "broken-evil").touch()
    run_process(settings, graph=GRAPH, library=library)
    (settings.home / "broken-evil").unlink()
    assert run_process(settings, graph=GRAPH, library=library).videos == 0, "a failed video is not due by itself"
    assert run_process(settings, RunRequest(retry=True), graph=GRAPH, library=library).ok
    with instance(settings) as dagster:
        assert colors(dagster, "length", ids) == [GREEN]
        assert colors(dagster, "report", ids) == [GREEN]


def test_an_unknown_stage_is_the_callers_error(settings: Settings, library: Library, add: Add) -> None:
    add("good")
    with pytest.raises(SettingsError, match="no stage called nothing"):
        run_process(settings, RunRequest(stages=["nothing"]), graph=GRAPH, library=library)


def test_nothing_of_dagster_reaches_the_terminal(
    settings: Settings, library: Library, add: Add, capfd: pytest.CaptureFixture[str]
) -> None:
    add("good", "evil")
    (settings.home / "broken-evil").touch()
    run_process(settings, graph=GRAPH, library=library)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


class Follower:
    """Sets a flag, or calls, at the first computed result of a stage."""

    def __init__(self, stage: str, then: Callable[[], None]) -> None:
        self.stage, self.then = stage, then
        self.seen: list[StageEvent] = []

    def on_event(self, event: StageEvent) -> None:
        self.seen.append(event)
        if event.stage == self.stage and event.state == "computed" and self.then:
            self.then()

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None: ...


def slow(settings: Settings, ids: list[str]) -> None:
    for sha256 in ids:
        (settings.home / f"slow-{sha256}").touch()


def test_dagster_that_is_ready_after_the_work_shows_all_of_it(
    settings: Settings, library: Library, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = add("good", "evil", "fine")
    (settings.home / "broken-evil").touch()

    def opened_late(settings: Settings) -> dg.DagsterInstance:
        reports = {"stages.report.status": "ok"}
        wait_for("the results", lambda: library.collections["videos"].count_documents(reports) == 2, limit_s=60)
        return instance(settings)

    monkeypatch.setattr("vidpipe.pipeline.instance.instance", opened_late)
    report = run_process(settings, graph=GRAPH, library=library)
    assert (report.total("computed"), report.total("failed"), report.interrupted) == (6, 1, False)
    with instance(settings) as dagster:
        (run,) = dagster.get_runs()
        assert run.status == dg.DagsterRunStatus.FAILURE
        for stage in GRAPH.names:
            assert colors(dagster, stage, ids) == [GREEN, None, GREEN]
        assert list(failed_videos(dagster, "length")) == [ids[1]]
    (counted,) = library.collections["runs"].find({"_id": run.run_id})
    assert {name: entry.get("computed") for name, entry in counted["stages"].items()} == dict.fromkeys(GRAPH.names, 2)


def test_work_stops_and_stays_stored_where_dagster_cannot_be_opened(
    settings: Settings, library: Library, add: Add
) -> None:
    ids = add(*(f"video-{number}" for number in range(600)))
    slow(settings, ids)
    file = dagster_home(settings) / "dagster.yaml"
    file.write_text("run_launcher: {module: vidpipe, class: WatchedRunLauncher}", encoding="utf-8")
    with pytest.raises(SettingsError, match="names classes that vidpipe no longer has"):
        run_process(settings, graph=GRAPH, library=library)
    done = set(calls(settings, "length"))
    assert len(done) < 600
    videos = library.collections["videos"]
    assert videos.count_documents({"lease": {"$exists": True}}) == 0
    assert videos.count_documents({"stages.length.status": "ok"}) == len(done)


@pytest.mark.parametrize("how", ["flag", "SIGINT", "SIGTERM"])
def test_a_stopped_run_is_cancelled_in_dagster_and_can_be_gone_on_with(
    settings: Settings, library: Library, add: Add, how: str
) -> None:
    ids = add(*(f"video-{number}" for number in range(30)))
    slow(settings, ids)
    flag = threading.Event()
    sent: list[int] = []

    def stop() -> None:
        if how == "flag":
            flag.set()
        elif not sent:
            sent.append(1)
            os.kill(os.getpid(), getattr(signal, how))

    def work() -> RunReport:
        return run_process(settings, observer=Follower("length", stop), cancelled=flag, graph=GRAPH, library=library)

    before = signal.getsignal(signal.SIGTERM)
    if how == "flag":  # as the command does it: the work is in another thread than the signals
        with ThreadPoolExecutor(1) as pool:
            report = pool.submit(work).result()
    else:
        report = work()
    assert report.interrupted
    assert signal.getsignal(signal.SIGTERM) is before
    assert 0 < len(calls(settings, "length")) < 30
    assert library.collections["videos"].count_documents({"lease": {"$exists": True}}) == 0
    with instance(settings) as dagster:
        assert [run.status for run in dagster.get_runs()] == [dg.DagsterRunStatus.CANCELED]
    assert run_process(settings, graph=GRAPH, library=library).ok
    assert sorted(set(calls(settings, "length"))) == sorted(ids)


class WaitsForDagster(NullObserver):
    """Holds the work back until Dagster shows its run."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def on_event(self, event: StageEvent) -> None:
        with instance(self.settings) as dagster:
            wait_for("the Dagster run", lambda: bool(dagster.get_runs(dg.RunsFilter(statuses=[STARTED]))), limit_s=60)


def test_a_killed_run_is_ended_by_the_next_one(settings: Settings, library: Library, add: Add) -> None:
    add("good", "evil")
    (settings.home / "crash-evil").touch()
    code = (
        "from vidpipe.settings import load; from vidpipe.pipeline.in_process_run import run_process;"
        "from vidpipe_tests.pipeline.test_process import WaitsForDagster; from vidpipe_tests.runner.small_graph import "
        "GRAPH; settings = load().settings; run_process(settings, observer=WaitsForDagster(settings), graph=GRAPH)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    (settings.home / "crash-evil").unlink()
    assert run_process(settings, graph=GRAPH, library=library).ok
    with instance(settings) as dagster:
        statuses = [run.status for run in dagster.get_runs()]
    assert statuses == [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
