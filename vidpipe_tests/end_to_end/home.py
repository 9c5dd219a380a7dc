"""A home as its user has it: the installed command in processes of its own, and an embedded server of its own.

Commands that only look are called in the test's process: a Python that starts takes most of a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from typer.testing import CliRunner

from vidpipe.cli.main import app
from vidpipe.library import embedded
from vidpipe.library.connection import Connection, connect
from vidpipe.settings import Settings

COMMAND = Path(sys.executable).with_name("vidpipe")
_READING = {"export", "list", "show", "status"}
#: What differs from run to run in the export of one and the same library.
_OF_THE_RUN = {"at", "run", "seconds", "decode_seconds"}
_UNFINISHED = ("STARTING", "STARTED", "CANCELING", "QUEUED", "NOT_STARTED")


def wait_for(what: str, condition: Any, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"timed out after {limit_s:.0f} s: {what}"
        time.sleep(0.01)


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Picture:
    """What a library holds: see `Home.library`, `Home.counts` and `Home.commits`."""

    library: list[Any]
    counts: dict[str, int]
    commits: Counter[tuple[str, str]]


@dataclass
class Home:
    """`vidpipe` on one home. prefix: what the command is called through; seen_at: where the test finds the home."""

    path: Path
    env: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    seen_at: Path = Path()

    def __post_init__(self) -> None:
        self.seen_at = self.path if self.seen_at == Path() else self.seen_at

    @property
    def data(self) -> Path:
        return self.seen_at / "data"

    @property
    def settings(self) -> Settings:
        return Settings(home=self.seen_at)

    def start(self, *args: str | Path) -> subprocess.Popen[str]:
        """The command in a session, and so a process group, of its own."""
        return subprocess.Popen(
            [*self.prefix, str(COMMAND), *map(str, args)],
            env={**os.environ, **self.env, "VIDPIPE_HOME": str(self.path)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def __call__(self, *args: str | Path) -> Ended:
        if args[0] in _READING and not self.prefix:
            return self._look(*args)
        return ended(self.start(*args))

    def _look(self, *args: str | Path) -> Ended:
        environment = {**self.env, "VIDPIPE_HOME": str(self.path)}
        done = CliRunner(env=environment).invoke(app, [str(word) for word in args])
        return Ended(done.exit_code, done.stdout, done.stderr)

    def json(self, *args: str | Path, code: int = 0) -> Any:
        """What `--json` writes."""
        done = self(*args, "--json")
        assert done.code == code, f"exit code {done.code}\n{done.stdout}\n{done.stderr}"
        return done.json

    def started_run(self, *args: str | Path) -> subprocess.Popen[str]:
        """`vidpipe run`, once it is at work on a video."""
        before = set(self.journals())
        process = self.start("run", *args)
        wait_for("the run works on a video", lambda: self.is_at_work(before) or process.poll() is not None)
        return process

    def journals(self) -> list[Path]:
        return list((self.data / "run").glob("*.journal"))

    def is_at_work(self, before: Set[Path] = frozenset()) -> bool:
        """Whether a process has begun with a video, one with another journal than those of `before`."""
        for path in set(self.journals()) - before:
            with contextlib.suppress(FileNotFoundError):
                if "\n+ " in path.read_text():
                    return True
        return False

    @contextlib.contextmanager
    def database(self) -> Iterator[Connection]:
        with connect(self.settings) as connection:
            yield connection

    def library(self) -> list[Any]:
        """The exported library, without times and run ids."""
        done = self("export", "-", "--format", "jsonl")
        assert done.code == 0, done.stderr
        return [_steady(json.loads(line)) for line in done.stdout.splitlines()]

    def commits(self) -> Counter[tuple[str, str]]:
        """(video, stage) -> how often a result was stored for it."""
        with self.database() as database:
            rows = list(database.collection("lineage").find({"kind": "commit", "status": "ok"}))
        return Counter((row["video"], row["stage"]) for row in rows)

    def counts(self) -> dict[str, int]:
        """Documents a collection; what sensors keep of specs is left out."""
        with self.database() as database:
            names = ("videos", "videos_scenes", "videos_answers", "videos_lineage", "videos_sources")
            return {name: database.database[name].count_documents({"kind": {"$ne": "spec"}}) for name in names}

    def states(self) -> dict[str, dict[str, int]]:
        """stage -> state -> number of videos, without zeros."""
        stages = self.json("status")["stages"]
        return {stage: {state: number for state, number in of.items() if number} for stage, of in stages.items()}

    def processes(self) -> list[psutil.Process]:
        """Processes that work in this home, but for its mongod."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if process.status() == psutil.STATUS_ZOMBIE or not words or Path(words[0]).name == "mongod":
                    continue
                home = process.environ().get("VIDPIPE_HOME")
                if home == str(self.path) or any(str(self.path) in word for word in words):
                    found.append(process)
        return found

    def kill_mongod(self) -> int:
        """kill -9; gives the id of the process that was."""
        server = embedded.find(self.settings)
        assert server is not None
        os.kill(server.pid, signal.SIGKILL)
        return server.pid

    def picture(self) -> Picture:
        return Picture(self.library(), self.counts(), self.commits())

    def assert_whole(self, like: Picture) -> None:
        """Its library equals `like`, nothing was stored or computed twice, nothing is left behind."""
        assert self.picture() == like
        assert set(like.commits.values()) == {1}
        self.assert_tidy()

    def assert_tidy(self) -> None:
        """No lease, no journal, no process, no unfinished folder, no unfinished run in Dagster."""
        assert not self.processes()
        self.assert_tidy_library()

    def assert_tidy_library(self) -> None:
        """The same while servers run."""
        with self.database() as database:
            assert database.collection("videos").count_documents({"lease": {"$exists": True}}) == 0
        assert not self.journals()
        assert not [path for path in (self.data / "derived").glob("*/*") if path.name.startswith(".")]
        assert not list((self.data / "media" / "incoming").glob("*.part"))
        assert not self.unfinished_runs()

    def unfinished_runs(self) -> Counter[str]:
        """State -> number of Dagster's runs that have not ended. What an ended run did is in Dagster's history."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.data / 'dagster/history/runs.db'}?mode=ro", uri=True)
        ) as runs:
            states = Counter(row[0] for row in runs.execute("SELECT status FROM runs"))
        return Counter({state: states[state] for state in _UNFINISHED if states[state]})


def computed(library: Any) -> Any:
    """Of `Home.library`, what was computed: without when, from which list and in how many attempts a video came in."""
    rows = [{part: entry for part, entry in row.items() if part != "sources"} for row in library]
    for row in rows:
        row["video"] = {name: value for name, value in row["video"].items() if name != "added_at"}
    return rows


def ended(process: subprocess.Popen[str], limit_s: float = 180.0) -> Ended:
    """Waits for a command."""
    try:
        stdout, stderr = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        kill_group(process)
        raise
    return Ended(process.returncode, stdout, stderr)


def kill_group(process: subprocess.Popen[str]) -> None:
    """kill -9 of a command and of what it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _steady(entry) for name, entry in value.items() if name not in _OF_THE_RUN}
    return [_steady(entry) for entry in value] if isinstance(value, list) else value
