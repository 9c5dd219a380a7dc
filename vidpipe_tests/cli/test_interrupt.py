"""SIGTERM ends every command soon: in good order where that is possible, at once where it hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.end_to_end.home import wait_for
from vidpipe_tests.fault_server import FaultServer, hang

_DEAF = """\
import subprocess, sys, time
from vidpipe.cli import interrupt
interrupt._TERM_LIMIT_S = 0.1
interrupt.end_on_sigterm()
child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, start_new_session=True)
try:
    print(child.pid, flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("asked to end", flush=True)
    time.sleep(60)
"""


def test_what_does_not_end_when_asked_is_ended_with_its_children() -> None:
    with subprocess.Popen([sys.executable, "-c", _DEAF], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, "asked to end\n")
    wait_for("its child is gone", lambda: not psutil.pid_exists(child), limit_s=10)


@pytest.mark.soak
@pytest.mark.parametrize("after_s", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(
    "words",
    ["add LIST", "add FOLDER", "add URL", "add -", "run", "run --force", "export - --format jsonl", "search a", "plan",
     "backup OUT --media", "restore OUT --dry-run", "prune", "doctor", "migrate --dry-run", "status --watch"],
)  # fmt: skip
def test_every_command_ends_within_seconds_of_sigterm(
    vidpipe: Command, tmp_path: Path, words: str, after_s: float
) -> None:
    (tmp_path / "folder").mkdir()
    for number in range(20_000):
        (tmp_path / "folder" / f"{number}.mp4").touch()
    with (tmp_path / "list.txt").open("w") as file:
        file.writelines(f"https://example.org/{number}.mp4\n" for number in range(500_000))
    assert vidpipe("add", clips.moving(tmp_path / "long.mp4", seconds=60, size="1280x720")).exit_code == 0
    with FaultServer() as server:
        names = {
            "LIST": tmp_path / "list.txt", "FOLDER": tmp_path / "folder", "OUT": tmp_path / "out",
            "URL": server.add("/clip.mp4", b"", always=hang),
        }  # fmt: skip
        process = vidpipe.start(*(names.get(word, word) for word in words.split()))
        time.sleep(after_s)
        try:
            family = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.communicate(timeout=60)
        assert time.monotonic() - began < 6
    if process.returncode not in (0, 1, 2, 3, 4):  # it had ended before
        assert process.returncode in (-15, 130, 143)
    wait_for("its children are gone", lambda: not any(child.is_running() for child in family), limit_s=10)


_SWALLOWED = """\
import _thread, time, weakref
from vidpipe.cli import interrupt
interrupt.repeat_lost_interrupts()
class Thing: pass
thing = Thing()
reference = weakref.ref(thing, lambda _: _thread.interrupt_main() or [None for _ in range(1000)])
try:
    del thing
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_that_python_drops_in_a_callback_is_raised_again() -> None:
    done = subprocess.run([sys.executable, "-c", _SWALLOWED], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
