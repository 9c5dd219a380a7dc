"""vidpipe mirror: a copy of the library in an SQL database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from vidpipe_tests.cli.conftest import Command


def rows(file: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(file)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_a_mirror_is_written_once_and_then_followed(
    filled: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = filled.json("mirror", "sqlite:///mirror.db")
    assert written["rows"]["videos"] == written["written"]["videos"] == len(filled.json("list")["videos"])
    assert set(written["rows"]) == {"videos", "scenes", "labels", "tags", "scene_tags", "answers", "sources"}
    assert (written["failed"], written["interrupted"], written["change_number"] > 0) == ([], False, True)
    (number,) = rows(tmp_path / "mirror.db", "SELECT value FROM vidpipe_mirror WHERE name = 'change_number'")[0]
    assert number == str(written["change_number"])
    again = filled("mirror", "sqlite:///mirror.db")
    assert "0 videos written, 0 removed, 0 sources written, 0 removed." in " ".join(again.stdout.split())
    of_setting = filled.under(MIRROR_URL="sqlite:///mirror.db").json("mirror", "--rebuild")
    assert of_setting["rows"] == written["rows"]
    assert rows(filled.home / "mirror.db", "SELECT count(*) FROM videos") == [(written["rows"]["videos"],)]
    (filled.home / "mirror.db").unlink()


def test_an_error_names_what_is_wrong_but_never_the_password(filled: Command) -> None:
    result = filled("mirror", "mongodb://me:hunter2@localhost/x", "--json")
    assert result.exit_code == 2
    assert "postgresql://HOST/NAME" in result.stdout
    logs = "".join(file.read_text() for file in (filled.home / "data" / "logs").glob("*") if file.is_file())
    assert logs
    assert "hunter2" not in result.output + logs
