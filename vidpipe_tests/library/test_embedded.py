"""The embedded server: one a home, found again, safe from others, and clear about why it does not start."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from vidpipe.errors import UnavailableError
from vidpipe.library import embedded, mongod
from vidpipe.library.mongod_files import ServerFiles
from vidpipe.settings import Settings

START_HERE = """
import sys, time
from pathlib import Path
from vidpipe.library import embedded
from vidpipe.settings import Settings
print(embedded.start(Settings(home=Path(sys.argv[1]))).pid, flush=True)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A started server that the test leaves as it is."""
    settings = Settings(home=tmp_path_factory.mktemp("shared"))
    embedded.start(settings)
    yield settings
    embedded.stop(settings)
    shutil.rmtree(settings.data_directory, ignore_errors=True)


def client_of(server: embedded.EmbeddedServer) -> MongoClient[dict[str, object]]:
    return MongoClient(server.uri, serverSelectionTimeoutMS=1000)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_is_started_once_found_again_and_stopped(embedded_settings: Settings) -> None:
    assert embedded.find(embedded_settings) is None
    assert not embedded.status(embedded_settings).running
    first = embedded.start(embedded_settings)
    assert embedded.start(embedded_settings) == first
    assert embedded.find(embedded_settings) == first
    known = embedded.status(embedded_settings)
    assert (known.running, known.pid, known.port) == (True, first.pid, first.port)

    assert embedded.stop(embedded_settings)
    assert not psutil.pid_exists(first.pid) or psutil.Process(first.pid).status() == psutil.STATUS_ZOMBIE
    assert embedded.find(embedded_settings) is None
    assert not embedded.status(embedded_settings).running
    assert not embedded.stop(embedded_settings)


def test_processes_that_start_it_at_once_share_one_server(embedded_settings: Settings) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", START_HERE, str(embedded_settings.home)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    pids = {starter.communicate(timeout=60)[0].strip() for starter in starters}
    assert pids == {str(embedded.start(embedded_settings).pid)}


def test_it_outlives_the_terminal_of_the_process_that_started_it(embedded_settings: Settings) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", START_HERE + "time.sleep(60)", str(embedded_settings.home)],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    os.killpg(starter.pid, signal.SIGINT)
    starter.communicate(timeout=30)
    assert starter.returncode != 0
    server = embedded.find(embedded_settings)
    assert server is not None
    assert server.pid == pid


def test_acknowledged_documents_survive_kill_9_and_connected_clients_find_the_new_one(
    embedded_settings: Settings,
) -> None:
    first = embedded.start(embedded_settings)
    with client_of(first) as client:
        client.library.videos.insert_many([{"_id": number} for number in range(1000)])
        kill(first.pid)
        assert embedded.find(embedded_settings) is None
        with pytest.raises(AutoReconnect):
            client.library.videos.count_documents({})
        second = embedded.start(embedded_settings)
        assert (second.pid != first.pid, second.port) == (True, first.port)
        assert client.library.videos.count_documents({}) == 1000


def test_a_process_id_given_to_another_program_is_not_taken_for_the_server(embedded_settings: Settings) -> None:
    first = embedded.start(embedded_settings)
    kill(first.pid)
    embedded.files_of(embedded_settings).pid.write_text(f"{os.getpid()}\n")
    assert embedded.find(embedded_settings) is None
    assert not embedded.stop(embedded_settings)
    assert embedded.start(embedded_settings).pid not in (first.pid, os.getpid())


def test_a_copied_home_gets_a_server_of_its_own(embedded_settings: Settings, shared: Settings) -> None:
    theirs, ours = embedded.files_of(shared), embedded.files_of(embedded_settings)
    ours.data.mkdir(parents=True)
    for path in (theirs.pid, theirs.key, theirs.port):
        shutil.copy2(path, ours.data)
    mine, other = embedded.start(embedded_settings), embedded.start(shared)
    assert mine.pid != other.pid
    assert mine.port != other.port


def test_a_home_reached_by_a_link_has_the_same_server(shared: Settings, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(shared.home)
    assert embedded.start(Settings(home=link)) == embedded.start(shared)


def test_a_moved_home_whose_server_still_runs_is_an_error_that_names_the_process(
    embedded_settings: Settings, tmp_path: Path
) -> None:
    server = embedded.start(embedded_settings)
    psutil.Process(server.pid).suspend()  # creating a file under the old path would end it
    try:
        moved = Settings(home=embedded_settings.home.rename(tmp_path / "moved"))
        with pytest.raises(UnavailableError, match=rf"Another mongod \(process {server.pid}\) has .*moved"):
            embedded.start(moved, release_limit_s=0.2)
    finally:
        kill(server.pid)


def test_another_port_is_taken_where_the_last_one_belongs_to_another_program(embedded_settings: Settings) -> None:
    embedded.start(embedded_settings)
    embedded.stop(embedded_settings)
    files = embedded.files_of(embedded_settings)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        files.port.write_text(str(taken))
        with pytest.raises(mongod.PortInUse):
            mongod.launch(mongod.find_mongod(), files, taken)
        assert embedded.start(embedded_settings).port != taken


def test_who_does_not_know_the_key_reads_nothing_and_makes_no_user(shared: Settings) -> None:
    server = embedded.start(shared)
    with MongoClient[dict[str, object]]("127.0.0.1", server.port) as stranger:
        for command in ({"find": "videos"}, {"createUser": "me", "pwd": "x", "roles": ["root"]}, {"shutdown": 1}):
            with pytest.raises(OperationFailure, match=r"requires authentication|unauthorized"):
                stranger.admin.command(command)


def test_it_listens_on_the_loopback_only_and_its_folder_is_closed_to_others(shared: Settings) -> None:
    server, files = embedded.start(shared), embedded.files_of(shared)
    listening = [item for item in psutil.Process(server.pid).net_connections("all") if item.status == "LISTEN"]
    assert [(item.laddr.ip, item.laddr.port) for item in listening] == [("127.0.0.1", server.port)]
    assert stat.S_IMODE(files.data.stat().st_mode) == 0o700
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert files.key.read_text() not in repr(server)
    assert not any(files.key.read_text() in word for word in psutil.Process(server.pid).cmdline())


def test_an_empty_library_takes_little_disk_and_keeps_its_journal(shared: Settings) -> None:
    with client_of(embedded.start(shared)) as client:
        assert client.admin.command("serverStatus")["wiredTiger"]["log"]["log bytes written"] > 0
    assert embedded.size_of(embedded.files_of(shared).data) < 100_000_000


def test_a_large_log_is_put_aside_at_the_start(embedded_settings: Settings) -> None:
    log = embedded.files_of(embedded_settings).log
    log.parent.mkdir(parents=True)
    log.write_bytes(b"old\n" * (mongod.LOG_LIMIT_BYTES // 4 + 1))
    embedded.start(embedded_settings)
    assert log.with_name("mongod.log.1").read_bytes().startswith(b"old")
    assert log.stat().st_size < mongod.LOG_LIMIT_BYTES


def test_damaged_data_are_named_as_such(embedded_settings: Settings) -> None:
    embedded.start(embedded_settings)
    embedded.stop(embedded_settings)
    (embedded.files_of(embedded_settings).data / "WiredTiger.wt").write_bytes(b"\0" * 4096)
    with pytest.raises(UnavailableError, match=r"its data files are damaged \(WiredTiger\.wt\)") as caught:
        embedded.start(embedded_settings)
    assert "--repair" in caught.value.hint


def test_a_home_without_room_for_the_folder_is_an_error_that_names_it(embedded_settings: Settings) -> None:
    embedded_settings.data_directory.write_text("a file where the folder should be")
    with pytest.raises(UnavailableError, match=r"cannot keep its data in .*data.mongo: ") as caught:
        embedded.start(embedded_settings)
    assert "VIDPIPE_HOME" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "sentence"),
    [("ro", "cannot keep its data in .*: Read-only file system"), ("size=10m", "The disk of .*/data/mongo is full")],
    ids=["read-only", "full"],
)
def test_a_read_only_or_full_disk_is_named(home: Path, options: str, sentence: str) -> None:
    """In a mount namespace of its own, which ends with the process."""
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    mount = f'mount -t tmpfs -o {options} none "$0"'
    if subprocess.run([*inside, mount, str(home)], capture_output=True, check=False).returncode:
        pytest.skip("this system lets the tests mount nothing (unshare --mount)")
    ran = subprocess.run(
        [*inside, f'{mount}; exec "$1" -c "$2" "$0"', str(home), sys.executable, START_HERE],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stdout
    last_line = ran.stderr.strip().splitlines()[-1]
    assert re.search(sentence, last_line), last_line


def test_a_program_that_ends_right_after_its_start_is_not_started_for_ever(
    embedded_settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "mongod").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "mongod").chmod(0o755)
    with pytest.raises(UnavailableError, match="exited right after each of 3 starts"):
        embedded.start(embedded_settings, program=tmp_path / "mongod")


def launching(program: Path, home: Path) -> None:
    files = embedded.files_of(Settings(home=home))
    files.data.mkdir(parents=True)
    files.log.parent.mkdir(parents=True)
    mongod.launch(program, files, 20_001)


@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        (b"\x7fELF made for another machine", 0o755, "is not made for this machine"),
        (b"#!/bin/sh\nexit 0\n", 0o644, "cannot be run: Permission denied"),
    ],
)
def test_a_program_that_cannot_run_here_is_named(home: Path, content: bytes, mode: int, sentence: str) -> None:
    program = home / "mongod"
    program.write_bytes(content)
    program.chmod(mode)
    with pytest.raises(UnavailableError, match=sentence) as caught:
        launching(program, home)
    assert str(program) in caught.value.message


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("mongod: error while loading shared libraries: libcrypto.so.3: cannot open shared object file: No such file or"
         " directory", r"missing on this system \(libcrypto.so.3\)"),
        ("mongod: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by mongod)", "GLIBC_2.34"),
        ('{"s":"F","msg":"Wrong mongod version","attr":{"error":"UPGRADE PROBLEM: Found an invalid featureCompatibility'
         'Version document"}}', "another version of MongoDB"),
        ('{"s":"I","msg":"fine"}\n{"s":"E","msg":"Odd","attr":{"error":"never seen"}}\n{"s":"F","msg":"aborting"}',
         'mongod says: "Odd: never seen"'),
        ("", "mongod exited with code 7"),
    ],
)  # fmt: skip
def test_the_reason_mongod_gives_becomes_a_sentence(said: str, reason: str, tmp_path: Path) -> None:
    """Texts as mongod and the system's loader print them: these states cannot be had on one machine."""
    files = ServerFiles(data=tmp_path, log=tmp_path / "mongod.log")
    error = mongod.start_failure(Path("mongod"), files, 7, said, said)
    assert isinstance(error, UnavailableError)
    assert error.hint
    with pytest.raises(UnavailableError, match=reason):
        raise error


@pytest.mark.skipif(os.uname().sysname != "Linux" or os.uname().machine != "x86_64", reason="AVX is asked for there")
def test_a_processor_without_avx_is_seen(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu sse4_2 avx2_not\n")
    assert mongod.lacks_avx(cpuinfo)
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu sse4_2 avx\n")
    assert not mongod.lacks_avx(cpuinfo)
    assert not mongod.lacks_avx(tmp_path / "absent")
