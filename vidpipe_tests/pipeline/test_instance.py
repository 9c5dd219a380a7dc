"""The dagster.yaml of a home: renewed until somebody edits it, and explained where it cannot be used."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]

from vidpipe.errors import SettingsError
from vidpipe.library.process_names import process_name
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline import instance as instances
from vidpipe.pipeline.instance import instance, prepare
from vidpipe.pipeline.run_launcher import PROCESS_TAG, ProcessRunLauncher
from vidpipe.pipeline.run_queue import queue_figures
from vidpipe.settings import Settings, default_file

#: As version 0.1 wrote it, in short.
FORMER = """\
storage:
  custom:
    module: vidpipe.pipeline.event_storage
    class: HomeStorage
    config: {}
run_launcher:
  module: vidpipe.pipeline.run_launcher
  class: WatchedRunLauncher
"""


def _stamped(text: str) -> str:
    stamp = "# Written by vidpipe, which renews this file until somebody edits it. sha256 of the rest: "
    return f"{stamp}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def _file(settings: Settings, text: str) -> Path:
    file = dagster_home(settings) / "dagster.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_an_unedited_file_of_a_former_version_is_renewed_and_its_history_continues(settings: Settings) -> None:
    with instance(settings) as opened:
        opened.add_run(dg.DagsterRun(job_name="process", run_id="a" * 32))
    file = _file(settings, _stamped(FORMER))
    with instance(settings) as opened:
        assert opened.get_run_by_id("a" * 32) is not None
        assert isinstance(opened.run_launcher, ProcessRunLauncher)
    config = yaml.safe_load(file.read_text())
    assert "storage" not in config
    assert config["concurrency"]["runs"]["max_concurrent_runs"] == settings.services.max_runs


def test_an_edited_file_stays_and_what_to_change_in_it_is_said(settings: Settings) -> None:
    file = _file(settings, _stamped(FORMER) + "# mine\n")
    with pytest.raises(SettingsError, match=r"dagster\.yaml cannot be used") as raised:
        instance(settings)
    assert "delete the block `storage:`" in raised.value.hint
    assert "ProcessRunLauncher" in raised.value.hint
    assert file.read_text().endswith("# mine\n")
    file.write_text("telemetry: {enabled: false}\n")
    instance(settings).dispose()
    assert file.read_text() == "telemetry: {enabled: false}\n"


def test_the_file_beside_config_ini_is_renewed_where_a_former_version_wrote_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = settings.home / "dagster.yaml"
    plain.write_text(FORMER)
    prepare(settings)
    assert plain.read_text() == FORMER
    monkeypatch.setattr(instances, "_FORMER", (hashlib.sha256(FORMER.encode()).hexdigest()[:16],))
    prepare(settings)
    assert plain.read_bytes() == default_file("dagster.yaml").read_bytes()


def test_the_clone_has_the_shipped_file() -> None:
    file = Path(__file__).parents[2] / "dagster.yaml"
    assert not file.is_symlink()
    assert file.read_bytes() == default_file("dagster.yaml").read_bytes()


def test_a_run_whose_process_was_killed_is_ended_and_its_pool_slot_is_free(settings: Settings) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        with instance(settings) as opened:
            opened.add_run(
                dg.DagsterRun(
                    job_name="process", run_id="b" * 32, status=dg.DagsterRunStatus.STARTED,
                    tags={PROCESS_TAG: process_name(process.pid)},
                )
            )  # fmt: skip
            opened.event_log_storage.initialize_concurrency_limit_to_default("gpu")
            claim = opened.event_log_storage.claim_concurrency_slot("gpu", "b" * 32, "a_step")
            assert claim.is_claimed
            assert queue_figures(opened).pools["gpu"].taken == 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with instance(settings) as opened:
        run = opened.get_run_by_id("b" * 32)
        assert run is not None
        assert run.status == dg.DagsterRunStatus.FAILURE
        assert queue_figures(opened).pools["gpu"].taken == 0
