"""The command as a user calls it: in this process where only its output matters, as a process of its own otherwise."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from typer.testing import CliRunner, Result

from vidpipe.cli.main import app
from vidpipe.settings import init_home
from vidpipe_tests import clips


@dataclass(frozen=True)
class Command:
    """`vidpipe` on one home and database."""

    home: Path
    env: Mapping[str, str] = field(repr=False)  # holds the key of the test server

    def __call__(self, *args: str | Path, given: str | None = None) -> Result:
        return CliRunner(env=self.env).invoke(app, [str(arg) for arg in args], input=given)

    def json(self, *args: str | Path, code: int = 0, given: str | None = None) -> Any:
        """What `--json` writes to stdout, all of it."""
        result = self(*args, "--json", given=given)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def under(self, **settings: str) -> Command:
        """The command with more settings in its environment: QWENVL_BACKEND="qwen"."""
        return replace(self, env={**self.env, **{f"VIDPIPE_{name}": value for name, value in settings.items()}})

    def start(self, *args: str | Path) -> subprocess.Popen[str]:
        """The command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", "from vidpipe.cli.main import main; main()", *map(str, args)],
            env={**os.environ, **self.env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


def _command(home: Path, uri: str, database: str) -> Command:
    env = {
        "VIDPIPE_HOME": str(home), "VIDPIPE_MONGODB_URI": uri, "VIDPIPE_MONGODB_DATABASENAME": database,
        "VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE": "127.0.0.1", "VIDPIPE_DOWNLOAD_RETRIES": "0",
    }  # fmt: skip
    return Command(init_home(home).home, env)


@contextlib.contextmanager
def command_on(home: Path, uri: str) -> Iterator[Command]:
    """The command on `home` and an empty library, which is dropped at the end."""
    database = f"test_{uuid.uuid4().hex[:16]}"
    yield _command(home, uri, database)
    with MongoClient[dict[str, Any]](uri) as client:
        client.drop_database(database)


@pytest.fixture
def vidpipe(home: Path, mongod_uri: str, empty_history: Path) -> Iterator[Command]:
    """The command on an empty library."""
    with command_on(home, mongod_uri) as command:
        shutil.copytree(empty_history, home / "data" / "dagster")
        yield command


#: The clips of `filled`; the names are hostile where they can be. The last one's is not UTF-8 on the disk.
CUTS, TALK, HOSTILE = "cuts.mp4", "talk.mkv", "[red]evil[bold] =1+1\x1b[2J\\xe9.mp4"
HOSTILE_ON_DISK = HOSTILE.replace("\\xe9", "\udce9")


@pytest.fixture(scope="session")
def filled(mongod_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command on a library of three videos that are through all stages; for tests that only look."""
    folder = tmp_path_factory.mktemp("clips")
    clips.color_cuts(folder / CUTS, ("red", "green", "blue"), audio="sine")
    clips.subtitled(folder / TALK, [(0.2, 1.0, "What a wonderful, happy lighthouse")])
    clips.moving(folder / "evil.mp4", size="180x320", seconds=1.0).rename(folder / HOSTILE_ON_DISK)
    with command_on(tmp_path_factory.mktemp("filled"), mongod_uri) as command:
        result = command("add", folder, "--label", "Seaside", "--label", "b-roll", "--run", "--json")
        assert result.exit_code == 0, result.output
        yield command


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/slow/"):
            self._slowly()
        else:
            super().do_GET()

    def _slowly(self) -> None:
        """A file of 100 MB, some kilobytes at a time."""
        self.send_response(200)
        self.send_header("Content-Length", str(100_000_000))
        self.end_headers()
        stop: threading.Event = self.server.stop  # type: ignore[attr-defined]
        try:
            while not stop.wait(0.05):
                self.wfile.write(b"\0" * 10_000)
        except OSError:
            return

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(address, folder) of an HTTP server on this machine; it serves the folder, and /slow/x.mp4 slowly."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
    server.stop = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.stop.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
