"""Damaged files of Dagster's history: the error names the file and the remedy, and a new one takes its place."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from vidpipe.errors import DamagedError
from vidpipe.library.repair import DamagedFilesFolder
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.instance import damaged_files, instance, set_aside
from vidpipe.settings import Settings


@pytest.fixture
def history(home: Path, empty_history: Path) -> Settings:
    settings = Settings(home=home)
    shutil.copytree(empty_history, dagster_home(settings))
    return settings


def garbage(path: Path) -> None:
    path.write_bytes(b"no database " * 1000)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def without_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as opened:
        for table in ("runs", "event_logs", "jobs"):
            opened.execute(f"DROP TABLE IF EXISTS {table}")
        opened.commit()


@pytest.mark.parametrize("damage", [garbage, truncated, folder, dangling, without_tables])
@pytest.mark.parametrize("name", ["history/runs.db", "history/runs/index.db", "schedules/schedules.db"])
def test_a_damaged_file_is_named_with_the_remedy(history: Settings, name: str, damage: Callable[[Path], None]) -> None:
    damage(dagster_home(history) / name)
    with pytest.raises(DamagedError, match=name) as caught:
        instance(history)
    assert "`vidpipe doctor --repair`" in caught.value.hint
    assert [path.relative_to(dagster_home(history)).as_posix() for path, _ in damaged_files(dagster_home(history))] == [
        name
    ]


def test_a_file_moved_aside_is_kept_and_made_anew(history: Settings) -> None:
    path = dagster_home(history) / "schedules" / "schedules.db"
    garbage(path)
    kept = set_aside(path, DamagedFilesFolder(history))
    assert kept.read_bytes().startswith(b"no database")
    instance(history).dispose()
    assert not list(damaged_files(dagster_home(history)))


def test_the_log_of_a_single_run_is_looked_at_too(history: Settings) -> None:
    shard = dagster_home(history) / "history" / "runs" / "0a1b2c3d-0000-4000-8000-000000000000.db"
    garbage(shard)
    assert [path for path, _ in damaged_files(dagster_home(history))] == [shard]
