"""Runs start as forks of a process that has imported everything: apart from it, and also when it has died."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from vidpipe.errors import UnavailableError
from vidpipe.pipeline.run_template import RunTemplate


@pytest.fixture
def template() -> Iterator[RunTemplate]:
    made = RunTemplate()
    yield made
    if made._running is not None:
        made._running[0].kill()
        made._running[0].wait()


def process_of(template: RunTemplate) -> psutil.Process:
    assert template._running is not None
    return psutil.Process(template._running[0].pid)


def wait_for_end(pid: int) -> None:
    if psutil.pid_exists(pid):
        psutil.Process(pid).wait(60)


def test_each_run_is_a_process_of_its_own_with_its_own_output(template: RunTemplate, tmp_path: Path) -> None:
    outputs = [tmp_path / "first.log", tmp_path / "second.log"]
    pids = [template.run("none", output) for output in outputs]
    assert len({*pids, os.getpid(), process_of(template).pid}) == 4
    for pid, output in zip(pids, outputs, strict=True):
        wait_for_end(pid)
        said = output.read_text()
        assert "JSONDecodeError" in said, "Dagster's command refuses these arguments"
        assert output.stat().st_mode & 0o077 == 0
    assert process_of(template).is_running()


def test_a_dead_template_is_replaced_and_one_that_cannot_start_is_an_error(
    template: RunTemplate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_end(template.run("none", tmp_path / "log"))
    first = process_of(template)
    first.kill()
    first.wait(10)
    with monkeypatch.context() as broken:
        broken.setenv("PYTHONHOME", "/nowhere")
        with pytest.raises(UnavailableError, match="does not answer"):
            template.run("none", tmp_path / "log")
    pid = template.run("none", tmp_path / "log")
    wait_for_end(pid)


def test_the_template_ends_with_the_process_that_started_it(template: RunTemplate, tmp_path: Path) -> None:
    wait_for_end(template.run("none", tmp_path / "log"))
    process = process_of(template)
    assert template._running is not None
    template._running[1].close()
    assert process.wait(60) == 0
