"""The job and the schedule that keep the SQL mirror up to date."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from vidpipe.pipeline.build import build_definitions
from vidpipe.settings import Settings
from vidpipe.settings.datasets import Mirror
from vidpipe_tests.datasets.mirrors import query
from vidpipe_tests.pipeline.test_jobs import failure, run_job
from vidpipe_tests.runner.small_graph import GRAPH


def test_the_job_writes_the_mirror_and_is_red_without_the_password_if_it_cannot(
    settings: Settings, add: Callable[..., list[str]], dagster: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    add("one", "two")
    monkeypatch.setenv("VIDPIPE_MIRROR_URL", "sqlite:///mirror.db")
    result = run_job(dagster, settings, "mirror")
    assert result.success
    assert query(f"sqlite:///{settings.home}/mirror.db", "SELECT name FROM videos ORDER BY name") == [
        ("one",),
        ("two",),
    ]
    monkeypatch.setenv("VIDPIPE_MIRROR_URL", "mysql://me:hunter2@localhost:port/x")
    result = run_job(dagster, settings, "mirror")
    assert not result.success
    assert "is malformed, or of another kind" in failure(result)
    assert "hunter2" not in str(dagster.all_logs(result.run_id))


def test_the_schedule_is_as_config_ini_says(settings: Settings) -> None:
    def schedules(cron: str) -> dict[str, str | object]:
        changed = settings.model_copy(update={"mirror": Mirror(schedule=cron)})
        definitions = build_definitions(GRAPH, changed).get_repository_def().schedule_defs
        return {schedule.name: schedule.cron_schedule for schedule in definitions}

    assert schedules("*/15 * * * *")["mirror"] == "*/15 * * * *"
    assert "mirror" not in schedules("")
