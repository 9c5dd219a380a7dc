"""A run gets a process that has been started before it, and a new one if that has died or runs old code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from vidpipe.pipeline.spare_process import SpareProcess

REFUSED = "JSONDecodeError"  # Dagster's command refuses arguments that are no JSON


@pytest.fixture
def spare() -> Iterator[SpareProcess]:
    made = SpareProcess()
    yield made
    waiting(made).kill()
    waiting(made).wait()


def waiting(spare: SpareProcess) -> subprocess.Popen[bytes]:
    assert spare._spare is not None
    return spare._spare


def wait_for_end(pid: int) -> None:
    if psutil.pid_exists(pid):
        psutil.Process(pid).wait(60)


def test_each_run_gets_the_process_that_waits_for_it(spare: SpareProcess, tmp_path: Path) -> None:
    outputs = [tmp_path / "first.log", tmp_path / "second.log"]
    first = spare.run("none", outputs[0])
    ready = waiting(spare).pid
    assert spare.run("none", outputs[1]) == ready
    for pid, output in zip((first, ready), outputs, strict=True):
        assert os.getsid(pid) == pid, "a signal to the group of the daemon does not reach it"
        wait_for_end(pid)
        assert REFUSED in output.read_text()
        assert output.stat().st_mode & 0o077 == 0
    assert waiting(spare).poll() is None


def test_a_process_that_died_while_it_waited_is_replaced(spare: SpareProcess, tmp_path: Path) -> None:
    wait_for_end(spare.run("none", tmp_path / "first.log"))
    waiting(spare).kill()
    psutil.Process(waiting(spare).pid).wait(10)
    wait_for_end(spare.run("none", tmp_path / "second.log"))
    assert REFUSED in (tmp_path / "second.log").read_text()


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = "from pathlib import Path\nfrom vidpipe.pipeline.spare_process import SPARE_PROCESS\n"
    program += f"SPARE_PROCESS.run('none', Path({str(tmp_path / 'log')!r}))\nprint(SPARE_PROCESS._spare.pid)\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    wait_for_end(int(done.stdout))
    assert done.stderr == ""


@pytest.mark.parametrize("edited", [True, False])
def test_a_run_uses_code_that_changed_while_its_process_waited(
    spare: SpareProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: bool
) -> None:
    (tmp_path / "sitecustomize.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    spare.run("none", tmp_path / "first.log")
    process = psutil.Process(waiting(spare).pid)
    while not any("sqlalchemy" in loaded.path for loaded in process.memory_maps()):
        time.sleep(0.05)  # it has not imported Dagster yet
    if edited:
        (tmp_path / "sitecustomize.py").write_text("import sys\nprint('the new code', file=sys.stderr)\n")
    assert spare.run("none", tmp_path / "second.log") == process.pid
    wait_for_end(process.pid)
    said = (tmp_path / "second.log").read_text()
    assert REFUSED in said
    assert ("the new code" in said) is edited
