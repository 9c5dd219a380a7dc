"""PostgreSQL and MariaDB from Debian's packages, started by an unprivileged user in a folder of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe_tests.library.replica_set import free_port

PASSWORD = "p@ss/wörd:5"  # noqa: S105 - of a server that a test starts
IN_URL = "p%40ss%2Fw%C3%B6rd%3A5"
_USER = "nobody" if os.geteuid() == 0 else None


def program(name: str, package: str) -> str:
    """The path of a server's program; the test is skipped if its package is not installed."""
    folders = [*sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True), "/usr/sbin", "/usr/bin"]
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"install Debian's package {package}")
    return found


@contextlib.contextmanager
def started(folder: Path, port: int, *command: str) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, user=_USER, cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder of the servers' user, with a short path, as sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="sql"))
    if _USER:
        shutil.chown(folder, _USER)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, user=_USER, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a database."""
    pytest.importorskip("psycopg", reason="install the extra sql")
    initdb, server = program("initdb", "postgresql"), program("postgres", "postgresql")
    with private_folder() as folder:
        (folder / "password").write_text(PASSWORD, encoding="utf-8")
        run(
            folder, initdb, "-D", f"{folder}/data", "-U", "me", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
            "-A", "scram-sha-256", f"--pwfile={folder}/password",
        )  # fmt: skip
        port = free_port()
        with started(
            folder, port, str(Path(initdb).with_name("postgres")), "-D", f"{folder}/data", "-p", str(port), "-F",
            "-k", str(folder), "-h", "127.0.0.1",
        ):  # fmt: skip
            assert server
            yield f"postgresql://me:{IN_URL}@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def mariadb() -> Iterator[str]:
    """The URL of a database."""
    pytest.importorskip("pymysql", reason="install the extra sql")
    server, install = program("mariadbd", "mariadb-server"), program("mariadb-install-db", "mariadb-server")
    with private_folder() as folder:
        run(folder, install, "--no-defaults", f"--datadir={folder}/data", "--skip-test-db")
        users = [f"'me'@'{host}'" for host in ("localhost", "127.0.0.1")]
        (folder / "init.sql").write_text(
            "SET NAMES utf8mb4;\nCREATE DATABASE library CHARACTER SET latin1;\n"
            + "".join(f"CREATE USER {user} IDENTIFIED BY '{PASSWORD}';\n" for user in users)
            + "".join(f"GRANT ALL ON library.* TO {user};\n" for user in users),
            encoding="utf-8",
        )
        port = free_port()
        with started(
            folder, port, server, "--no-defaults", f"--datadir={folder}/data", f"--port={port}",
            "--bind-address=127.0.0.1", f"--socket={folder}/socket", f"--init-file={folder}/init.sql",
            f"--pid-file={folder}/pid", "--character-set-server=utf8mb4",
        ):  # fmt: skip
            yield f"mysql://me:{IN_URL}@127.0.0.1:{port}/library"
