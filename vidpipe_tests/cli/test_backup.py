"""vidpipe backup, restore and migrate, on libraries made by real runs."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pymongo import MongoClient

from vidpipe.operations.backups import manifest as manifests
from vidpipe.settings import init_home
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.library.replica_set import free_port, start_mongod

PASSWORD = "p@ss/word"  # noqa: S105 - of a server that lives as long as a test


@pytest.fixture(scope="session")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a mongod that somebody started by hand, with a user and a password."""
    folder, port = tmp_path_factory.mktemp("own"), free_port()
    process: subprocess.Popen[bytes] = start_mongod(folder / "data", port, "--auth")
    with MongoClient[dict[str, Any]](port=port, directConnection=True) as client:
        client.admin.command("createUser", "owner", pwd=PASSWORD, roles=["readWriteAnyDatabase"])
    yield f"mongodb://owner:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/?authSource=admin"
    process.kill()
    process.wait()


@pytest.fixture
def fresh(tmp_path: Path, filled: Command, own_server: str, request: pytest.FixtureRequest) -> Command:
    """A new home on the other server, under other names."""
    home = init_home(tmp_path / "fresh").home
    names = {
        "VIDPIPE_MONGODB_DATABASENAME": f"db_{abs(hash(request.node.name))}",
        "VIDPIPE_MONGODB_COLLECTIONNAME": "c",
    }
    return replace(
        filled, home=home, env={**filled.env, **names, "VIDPIPE_HOME": str(home), "VIDPIPE_MONGODB_URI": own_server}
    )


def exported(command: Command) -> bytes:
    result = command("export", "-", "--format", "jsonl")
    assert result.exit_code == 0, result.output
    return result.stdout.encode()


def partitions(home: Path) -> set[str]:
    with sqlite3.connect(home / "data" / "dagster" / "history" / "runs" / "index.db") as index:
        return {row[0] for row in index.execute("SELECT partition FROM dynamic_partitions")}


def test_from_one_server_to_another_everything_comes_along_and_nothing_is_due(
    filled: Command, fresh: Command, tmp_path: Path
) -> None:
    made = filled.json("backup", tmp_path / "backups", "--media")
    assert made["documents"]["videos"] == 3
    assert made["media"]["files"] == made["media"]["linked"] == 3
    done = fresh.json("restore", tmp_path / "backups", "--settings")
    assert done["media"] == {"copied": 3, "present": 0, "missing": 0, "damaged": 0, "names": []}
    assert exported(fresh) == exported(filled)
    report = fresh.json("run")
    assert report["videos"] == 0
    assert fresh.json("status")["due_videos"] == 0
    assert partitions(fresh.home) == {row["video"] for row in fresh.json("list")["videos"]}
    assert PASSWORD not in (fresh.home / "data" / "logs" / "audit.jsonl").read_text()


def test_media_that_are_not_in_the_back_up_are_counted_and_fetched_by_the_next_run(
    filled: Command, fresh: Command, tmp_path: Path
) -> None:
    filled.json("backup", tmp_path / "backups", "--no-derived")
    done = fresh.json("restore", tmp_path / "backups")
    assert done["media"]["missing"] == 3
    assert len(done["media"]["names"]) == 3
    report = fresh.json("run")
    assert report["stages"]["raw_video"]["computed"] == 3, "from the folder that they were added from"
    assert report["stages"]["scenes"]["failed"] == 0
    assert fresh.json("run")["videos"] == 0


def test_a_dry_run_changes_nothing(filled: Command, fresh: Command, tmp_path: Path) -> None:
    filled.json("backup", tmp_path / "backups")
    told = fresh.json("restore", tmp_path / "backups", "--dry-run")
    assert told["dry_run"]
    assert told["documents"]["videos"] == 3
    assert fresh.json("status")["videos"] == 0
    assert not (fresh.home / "data" / "derived").exists()


def test_what_would_be_replaced_is_said_and_asked_for(filled: Command, fresh: Command, tmp_path: Path) -> None:
    filled.json("backup", tmp_path / "backups")
    fresh.json("restore", tmp_path / "backups")
    refused = fresh.json("restore", tmp_path / "backups", code=2)
    assert "3 videos" in refused["error"]["message"]
    assert "--replace" in refused["error"]["hint"]
    assert fresh.json("restore", tmp_path / "backups", "--replace")["replaced"]["videos"] == 3


def test_a_back_up_that_was_changed_is_refused(filled: Command, fresh: Command, tmp_path: Path) -> None:
    filled.json("backup", tmp_path / "backups")
    rules = manifests.whole_backups(tmp_path / "backups")[0] / "settings" / "rules" / "custom_tags.json"
    rules.write_text(rules.read_text().replace("0", "1", 1))
    error = fresh.json("restore", tmp_path / "backups", code=3)["error"]
    assert "custom_tags.json does not match its hash" in error["message"]
    assert fresh.json("status")["videos"] == 0


def test_a_file_that_somebody_else_keeps_goes_into_the_store_where_it_is_not_at_hand(
    vidpipe: Command, tmp_path: Path, own_server: str
) -> None:
    clip = clips.moving(tmp_path / "elsewhere" / "mine.mp4", seconds=0.5, size="160x90")
    vidpipe.json("add", clip, "--mode", "reference", "--run")
    vidpipe.json("backup", tmp_path / "backups", "--media")
    clip.unlink()
    home = init_home(tmp_path / "fresh").home
    moved = replace(
        vidpipe, home=home, env={**vidpipe.env, "VIDPIPE_HOME": str(home), "VIDPIPE_MONGODB_URI": own_server}
    )
    assert moved.json("restore", tmp_path / "backups")["media"]["copied"] == 1
    (stored,) = (home / "data" / "media").glob("??/*.mp4")
    (video,) = moved.json("list")["videos"]
    assert stored.stem == video["video"]
    report = moved.json("run")
    assert report["stages"]["metadata"]["computed"] == 0
    assert not report["failures"]


def test_copied_media_of_a_broken_off_back_up_are_not_copied_again(
    filled: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", no_links)
    first = filled.json("backup", tmp_path / "backups", "--media")
    assert first["media"]["copied"] == 3
    whole = Path(first["path"])
    whole.rename(whole.with_name("2026-01-01T00-00-00Z.part"))  # as it was just before the end
    second = filled.json("backup", tmp_path / "backups", "--media")
    assert (second["media"]["copied"], second["media"]["present"]) == (0, 3)
    assert [path.name for path in (tmp_path / "backups").glob("2*")] == [Path(second["path"]).name]


def test_damaged_media_are_left_out_and_named(filled: Command, fresh: Command, tmp_path: Path) -> None:
    path = Path(filled.json("backup", tmp_path / "backups", "--media")["path"])
    file = next((path / "media").rglob("*.mkv"))
    content = file.read_bytes()
    file.unlink()  # it is a link: the library's own file stays as it is
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = fresh.json("restore", path)
    assert (done["media"]["copied"], done["media"]["damaged"]) == (2, 1)
    assert file.name in done["media"]["names"][0]
    assert len(list((fresh.home / "data" / "media").glob("??/*"))) == 2


def test_migrate_says_that_all_is_up_to_date(filled: Command) -> None:
    told = filled.json("migrate", "--dry-run")
    assert told["from"] == told["to"]
    assert "up to date" in filled("migrate").output
