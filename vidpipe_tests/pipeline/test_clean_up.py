"""The job and the schedule clean_up, and clean-ups while runs are at work."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.pipeline.build import build_definitions
from vidpipe.pipeline.clean_up import clean_up
from vidpipe.pipeline.instance import instance
from vidpipe.pipeline.partitions import add_videos
from vidpipe.settings import Settings
from vidpipe.settings.operation import Retention
from vidpipe_tests.operations.retention.conftest import write
from vidpipe_tests.pipeline.test_jobs import failure, run_job
from vidpipe_tests.pipeline.test_process import GREEN, colors
from vidpipe_tests.runner.small_graph import GRAPH

Add = Callable[..., list[str]]


def run_clean_up(dagster: dg.DagsterInstance, settings: Settings, *, dry_run: bool) -> dg.ExecuteInProcessResult:
    config = {"ops": {"clean_up_home": {"config": {"dry_run": dry_run}}}}
    return run_job(dagster, settings, "clean_up", run_config=config)


@pytest.fixture
def old_log(settings: Settings) -> Path:
    return write(settings.data_directory / "logs" / "web.log.1", 3_000_000, days=90)


def test_the_job_deletes_what_is_old_and_its_page_says_what(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, old_log: Path
) -> None:
    assert run_clean_up(dagster, settings, dry_run=True).success
    assert old_log.exists()
    result = run_clean_up(dagster, settings, dry_run=False)
    assert result.success
    assert not old_log.exists()
    (output,) = [event for event in result.all_events if event.is_successful_output]
    said = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert str(said["log files"]).startswith("log files: 1 deleted, 3.0 MB, the oldest from 20")
    assert set(said) >= {"runs", "run files", "ticks", "derived", "measures"}


def test_a_kind_that_fails_makes_the_run_red_after_the_others_are_done(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, old_log: Path
) -> None:
    for number in range(25):
        name = hashlib.sha256(str(number).encode()).hexdigest()
        (settings.derived_directory / name / "0").mkdir(parents=True)
    result = run_clean_up(dagster, settings, dry_run=False)
    assert not result.success
    assert "derived: 25 of the 25 folders" in failure(result)
    assert not old_log.exists()


def test_the_schedule_is_as_config_ini_says_in_local_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")

    def schedules(cron: str) -> dict[str, dg.ScheduleDefinition]:
        changed = settings.model_copy(update={"retention": Retention(schedule=cron)})
        definitions = build_definitions(GRAPH, changed).get_repository_def().schedule_defs
        return {schedule.name: schedule for schedule in definitions}

    made = schedules("40 3 * * *")["clean_up"]
    assert (made.cron_schedule, made.execution_timezone, made.job_name) == ("40 3 * * *", "Europe/Berlin", "clean_up")
    assert made.default_status == dg.DefaultScheduleStatus.RUNNING
    assert "clean_up" not in schedules("")


@pytest.mark.soak
def test_clean_ups_while_runs_are_at_work_cost_them_nothing(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add(*(f"video {number}" for number in range(12)))
    add_videos(dagster, ids)
    run_job(dagster, settings, "prepare", ids)
    greedy = settings.model_copy(update={"retention": Retention(runs_days=0, ticks_days=0, derived_days=0)})
    done = threading.Event()
    failed: list[str] = []

    def work() -> None:
        try:
            with instance(settings) as own:
                for _ in range(3):
                    for step in ("prepare", "label"):
                        result = run_job(own, settings, step, ids)
                        if not result.success:
                            failed.append(failure(result))
        except Exception as error:
            failed.append(repr(error))
        finally:
            done.set()

    thread = threading.Thread(target=work)
    thread.start()
    rounds = 0
    while not done.wait(0.05):
        reports = clean_up(dagster, greedy, library)
        failed += [report.error for report in reports if report.error]
        rounds += 1
    thread.join()
    assert failed == []
    assert rounds > 1
    for stage in GRAPH.names:
        assert colors(dagster, stage, ids) == [GREEN] * len(ids)
        assert (
            dagster.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
                dg.AssetKey(stage)
            )
            == {}
        )
