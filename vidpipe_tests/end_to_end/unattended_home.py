"""A home that runs by itself: `vidpipe up`, a list that is written into, and what its processes are doing."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from vidpipe_tests.end_to_end.home import Home

#: kind of process -> words by which its command line is known
_KINDS = {
    "run": ("api", "execute_run"),
    "code server": ("api", "grpc"),
    "library page": ("vidpipe.web.server",),
    "web server": ("vidpipe.pipeline.dagster_page",),
    "daemon": ("dagster-daemon",),
    "measures": ("vidpipe.pipeline.metrics_server",),
    "supervisor": ("vidpipe.operations.services.supervisor",),
    "mongod": ("mongod",),
}


def kind_of(words: Sequence[str], waits: bool = False) -> str:
    """Kind of a home's process with this command line; "other" for a user's command or what a stage started."""
    names = {Path(word).name for word in words}
    if "next-run" in names:
        return "spare process" if waits else "run"
    return next((kind for kind, known in _KINDS.items() if names.issuperset(known)), "other")


@dataclass
class UnattendedHome:
    """A home whose servers are up. list_file: the watched list."""

    home: Home
    list_file: Path
    memory_mb: dict[str, list[float]] = field(default_factory=dict)
    look_every_s: float = 1.0

    def processes(self) -> dict[str, list[psutil.Process]]:
        """kind -> processes of this home, mongod included."""
        found: dict[str, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                words = process.cmdline()
                ours = str(self.home.path) in " ".join(words) or process.environ().get("VIDPIPE_HOME") == str(
                    self.home.path
                )
                if ours and words and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                    waits = os.readlink(f"/proc/{process.pid}/fd/0").startswith("pipe:")
                    found.setdefault(kind_of(words, waits), []).append(process)
        return found

    def note_memory(self) -> None:
        """Adds what each kind of process takes now to `memory_mb`."""
        for kind, processes in self.processes().items():
            with contextlib.suppress(psutil.Error):
                total = sum(process.memory_info().rss for process in processes)
                self.memory_mb.setdefault(kind, []).append(total / 1e6)

    def append(self, *lines: str) -> None:
        with self.list_file.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def rewrite(self, change: Callable[[list[str]], list[str]]) -> None:
        """Writes the list anew and renames it into place, as editors do."""
        lines = change(self.list_file.read_text(encoding="utf-8").splitlines())
        new = self.list_file.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        new.replace(self.list_file)

    def current(self) -> dict[str, int]:
        """stage -> number of videos that are current."""
        return {stage: states.get("current", 0) for stage, states in self.home.states().items()}

    def wait_until(self, what: str, condition: Callable[[], Any], limit_s: float) -> float:
        """Waits, noting each process's memory; gives the seconds it took."""
        began = time.monotonic()
        while not condition():
            waited_s = time.monotonic() - began
            assert waited_s < limit_s, (
                f"timed out after {limit_s:.0f} s: {what}\n{self.home('status', '--failed').stdout}"
            )
            self.note_memory()
            time.sleep(self.look_every_s)
        return time.monotonic() - began

    def wait_until_all_current(self, videos: int, limit_s: float) -> float:
        """All stages of so many videos."""
        return self.wait_until(
            f"{videos} videos are current in every stage",
            lambda: set(self.current().values()) == {videos},
            limit_s,
        )

    def wait_until_runs_end(self, limit_s: float) -> float:
        """Results are current while their run still reports them to Dagster."""
        return self.wait_until("all runs have ended", lambda: not self.home.unfinished_runs(), limit_s)


@contextlib.contextmanager
def running(home: Home) -> Iterator[UnattendedHome]:
    """`home` with its servers up; they are down afterwards, whatever happened."""
    done = home("up")
    assert done.code == 0, done.stdout + done.stderr
    unattended = UnattendedHome(home, home.data / "urls.txt")
    try:
        yield unattended
    finally:
        home("down", "--force")
        for processes in unattended.processes().values():
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.kill()
