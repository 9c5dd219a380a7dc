"""Log files by age and size, around files that are being written to."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from pymongo import MongoClient

from vidpipe.library import embedded
from vidpipe.library.connection import connect
from vidpipe.operations.retention import PruneReport
from vidpipe.operations.retention.home_tasks import delete_log_files, rotate_mongod_log, rotate_server_logs
from vidpipe.settings import Settings
from vidpipe.settings.operation import Retention
from vidpipe_tests.operations.retention.conftest import age, both, write


@pytest.fixture
def logs(home: Path) -> Path:
    return home / "data" / "logs"


def left(logs: Path) -> list[str]:
    return sorted(path.relative_to(logs).as_posix() for path in logs.rglob("*") if path.is_file())


def keeping(home: Path, **retention: float) -> Settings:
    return Settings(home=home, retention=Retention(**retention))  # type: ignore[arg-type]


def test_old_files_of_ended_servers_and_runs_go_and_current_ones_stay(home: Path, logs: Path) -> None:
    current = ("vidpipe.log", "audit.jsonl", "mongod.log", ".__vidpipe.lock")
    for name in (*current, "vidpipe.log.3", "daemon.log", "runs/abc.log"):
        write(logs / name, days=40)
    for name in ("vidpipe.log.1", "web.log", "runs/def.log"):
        write(logs / name, days=20)
    with (logs / "metrics.log").open("wb"):
        age(logs / "metrics.log", 40)
        report = both(partial(delete_log_files, keeping(home)))
    assert report.count == 3
    assert left(logs) == sorted([*current, "metrics.log", "vidpipe.log.1", "web.log", "runs/def.log"])


def test_beyond_the_size_the_oldest_rotated_ones_and_those_of_ended_runs_go_first(home: Path, logs: Path) -> None:
    for number in range(1, 6):
        write(logs / f"vidpipe.log.{number}", 400_000, days=number)
    write(logs / "vidpipe.log", 400_000)
    write(logs / "runs" / "ended.log", 400_000, days=3.5)
    write(logs / "runs" / "just ended.log", 400_000)
    write(logs / "mongod.log.2026-11-01T03-40-00", 400_000, days=10)
    write(logs / "daemon.log", 400_000, days=12)
    report = both(partial(delete_log_files, keeping(home, logs_size_mb=2)))
    assert (report.count, report.size_bytes) == (5, 2_000_000)
    assert left(logs) == ["daemon.log", "runs/just ended.log", "vidpipe.log", "vidpipe.log.1", "vidpipe.log.2"]


def test_what_cannot_go_is_told(home: Path, logs: Path) -> None:
    write(logs / "vidpipe.log", 1_500_000)
    report = both(partial(delete_log_files, keeping(home, logs_size_mb=1)))
    assert report.count == 0
    assert report.notes == ["2 MB of log files are in use or too young to delete; [Retention] LogsSizeMB is less."]


def test_rotated_files_beside_a_log_elsewhere_go_too_and_nothing_else_there(home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "var"
    for name in ("own.log", "own.log.2", "audit.jsonl.1", "syslog", "syslog.1"):
        write(elsewhere / name, days=40)
    settings = keeping(home)
    logging = settings.logging.model_copy(update={"log_file": elsewhere / "own.log"})
    both(partial(delete_log_files, settings.model_copy(update={"logging": logging})))
    assert left(elsewhere) == ["own.log", "syslog", "syslog.1"]


def test_mongod_begins_a_new_log_file_when_its_own_is_large(
    embedded_settings: Settings,
) -> None:
    log = embedded.files_of(embedded_settings).log
    with connect(embedded_settings) as connection:
        work = partial(rotate_mongod_log, embedded_settings, connection, max_bytes=100)
        told = PruneReport("test")
        work(told, True)
        assert told.count == 1
        assert len(list(log.parent.glob("mongod.log*"))) == 1
        work(PruneReport("test"), False)
        (rotated,) = log.parent.glob("mongod.log.*")
        assert log.is_file()
        age(rotated, 40)
        assert both(partial(delete_log_files, embedded_settings)).count == 1
        assert connection.client.admin.command("ping")["ok"] == 1


def test_a_large_log_of_a_living_server_begins_anew_and_is_written_on(home: Path, logs: Path) -> None:
    settings = keeping(home)
    settings = settings.model_copy(update={"logging": settings.logging.model_copy(update={"max_size_mb": 1})})
    for name in ("vidpipe.log", "audit.jsonl"):
        write(logs / name, 1_500_000)
    write(logs / "web.log", 900_000)
    with (logs / "daemon.log").open("ab", buffering=0) as log:
        log.write(b"x" * 1_200_000)
        assert both(partial(rotate_server_logs, settings)).count == 1
        log.write(b"on it goes\n")
    assert (logs / "daemon.log").read_bytes() == b"on it goes\n"
    (rotated,) = logs.glob("daemon.log.*")
    assert rotated.stat().st_size == 1_200_000
    age(rotated, 40)
    assert both(partial(delete_log_files, settings)).count == 1
    assert left(logs) == ["audit.jsonl", "daemon.log", "vidpipe.log", "web.log"]


def test_a_server_of_ones_own_is_left_alone(settings: Settings, mongod_uri: str) -> None:
    with connect(settings) as connection, MongoClient[dict[str, object]](mongod_uri):
        report = PruneReport("test")
        rotate_mongod_log(settings, connection, report, False)
        assert report.count == 0
