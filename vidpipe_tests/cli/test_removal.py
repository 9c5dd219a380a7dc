"""What is left of a forgotten video: nothing. And how it is restored, refused and forgotten by age."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from vidpipe.cli.main import COMMANDS
from vidpipe.library.library import Library
from vidpipe.pipeline.instance import instance
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe.stages.registry import build_graph
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command

NAME, TITLE, NOTE, ERROR = "zanzibar_quokka.mp4", "Ombudsman überall", "wrongly called a wallaby", "cannot read the gnu"
#: Each is in a place of its own; none may be anywhere afterwards.
TEXTS = ("zanzibar_quokka", "Ombudsman", "wallaby", "read the gnu", "gazebo.example")
URL = "https://gazebo.example/clips/zanzibar_quokka.mp4"


@contextmanager
def opened(vidpipe: Command) -> Iterator[Library]:
    uri = SecretStr(vidpipe.env["VIDPIPE_MONGODB_URI"])
    mongodb = MongoDB(uri=uri, database_name=vidpipe.env["VIDPIPE_MONGODB_DATABASENAME"])
    settings = Settings(home=vidpipe.home, mongodb=mongodb)
    with Library.open(settings, build_graph(settings)) as library:
        yield library


@pytest.fixture
def two(vidpipe: Command, tmp_path: Path) -> tuple[Command, str, str]:
    """A library of two videos through all stages: the one to forget, and another."""
    clips.moving(tmp_path / NAME, seconds=0.5)
    clips.color_cuts(tmp_path / "other.mp4", ("red", "green"))
    (one,) = vidpipe.json("add", tmp_path / NAME, "--title", TITLE, "--label", "Xylophone")["inputs"]
    (other,) = vidpipe.json("add", tmp_path / "other.mp4")["inputs"]
    assert vidpipe("run").exit_code == 0
    return vidpipe, one["video"], other["video"]


def spread(vidpipe: Command, sha256: str, other: str) -> Path:
    """Puts the video's texts wherever they may get, and returns a folder of exports."""
    with opened(vidpipe) as library:
        videos, names = library.collections["videos"], library.collections
        videos.update_one({"_id": sha256}, {"$push": {"ingest.urls": URL}})
        videos.update_one({"_id": sha256}, {"$set": {"stages.tags.error": {"message": f"{ERROR} at all."}}})
        names["sources"].update_one({"video": sha256}, {"$set": {"last_error": f"{URL}: gone", "etag": "e"}})
        names["verdicts"].insert_one({"video": sha256, "tag_key": "x", "tag": "X", "note": NOTE})
        names["answers"].insert_one({"video": sha256, "answer": "A wallaby on a bicycle in the rain."})
        names["meta"].insert_one({"_id": "list:urls.txt", "line_problems": [["urls.txt:3", f"{URL} cannot be read"]]})
    logs = vidpipe.home / "data" / "logs"
    (logs / "runs").mkdir(parents=True, exist_ok=True)
    line = f"2026-01-01 INFO {NAME} ({sha256[:12]}), stage tags: {ERROR} at all. {json.dumps(TITLE)}\nanother line\n"
    for name in ("daemon.log", "vidpipe.log.3", "runs/1.log"):
        (logs / name).write_text(line * 1000, "utf-8")
    (logs / "web.log.1.gz").write_bytes(gzip.compress(line.encode()))
    upload = vidpipe.home / "data" / "uploads" / "1" / NAME
    upload.parent.mkdir(parents=True)
    upload.write_bytes(b"x")

    @dg.op
    def old(context: dg.OpExecutionContext) -> None:
        for key, file in ((sha256, NAME), (other, "other.mp4")):
            made = dg.AssetMaterialization("metadata", partition=key, metadata={"file": file, "frames": 1})
            context.log_event(made)

    @dg.job
    def history() -> None:
        old()

    with instance(Settings(home=vidpipe.home)) as dagster:
        history.execute_in_process(instance=dagster, tags={"from": URL})
    exports = vidpipe.home / "exports"
    exports.mkdir()
    for place in ("a.jsonl", "a.csv", "a.parquet", "folder"):
        assert vidpipe("export", exports / place).exit_code == 0
    assert vidpipe("export", exports / "scenes.csv", "--scenes").exit_code == 0
    assert vidpipe("clips", sha256, "--preset", "ultrafast", "--output", exports / "clips").exit_code == 0
    return exports


def everything(vidpipe: Command) -> dict[str, bytes]:
    """Every file of the home and every document, by place."""
    found = {
        f"{path.relative_to(vidpipe.home)}": gzip.decompress(data) if path.suffix == ".gz" else data
        for path in vidpipe.home.rglob("*") if path.is_file() and (data := path.read_bytes()) is not None
    }  # fmt: skip
    with opened(vidpipe) as library:
        for name, collection in library.collections.items():
            found[f"mongodb/{name}"] = "\n".join(map(str, collection.find())).encode()
    return found


def naming(found: dict[str, bytes], text: str) -> set[str]:
    forms = {text.encode(), json.dumps(text)[1:-1].encode()}
    return {place for place, data in found.items() if any(form in data or form in place.encode() for form in forms)}


def lines(export: Path) -> list[Any]:
    return [json.loads(line) for line in export.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("grace_days", [pytest.param("0", marks=pytest.mark.soak), "7"])
def test_nothing_of_a_forgotten_video_is_left(two: tuple[Command, str, str], grace_days: str) -> None:
    vidpipe, sha256, other = two
    vidpipe = vidpipe.under(PRIVACY_GRACEDAYS=grace_days)
    exports = spread(vidpipe, sha256, other)
    assert vidpipe("backup", vidpipe.home.parent / "backups").exit_code == 0
    assert vidpipe.json("search", "quokka")["total"] == 1
    before = everything(vidpipe)
    for text in TEXTS:
        assert naming(before, text), text
    told = vidpipe.json("forget", sha256[:10], "--dry-run")["videos"][0]
    done = vidpipe.json("forget", sha256[:10], "--yes", "--reason", "asked for")["videos"][0]
    assert told["removed"] == done["removed"]
    assert done["removed"]["Dagster runs"] == 1
    assert len(done["elsewhere"]["exports"]) == 6
    assert len(done["elsewhere"]["backups"]) == 1
    after = everything(vidpipe)
    for text in TEXTS:
        assert naming(after, text) == set(), text
    where = naming(after, sha256) | naming(after, sha256[:12])
    assert where - {place for place in where if place.startswith("data/dagster/")} == {
        "mongodb/tombstones", "data/logs/audit.jsonl"
    }  # fmt: skip
    audit = [json.loads(line) for line in after["data/logs/audit.jsonl"].splitlines()]
    assert {entry["event"] for entry in audit if sha256 in str(entry)} == {"forget"}
    assert audit[-1]["reason"] == "asked for"
    sizes = {
        place: len(data) for place, data in before.items() if place.startswith("data/logs/") and "audit" not in place
    }
    assert {place: len(after[place]) for place in sizes if Path(place).name != "vidpipe.log"} == {
        place: size for place, size in sizes.items() if Path(place).name != "vidpipe.log"
    }
    assert naming(after, other) >= {
        f"exports/{name}" for name in ("a.jsonl", "a.csv", "scenes.csv", f"folder/{other}.json")
    }
    fresh = vidpipe.home.parent / "fresh"
    for place in ("a.jsonl", "a.csv", "scenes.csv"):
        assert vidpipe("export", fresh / place, *(["--scenes"] if place == "scenes.csv" else [])).exit_code == 0
        assert (exports / place).read_bytes() == (fresh / place).read_bytes()
    with instance(Settings(home=vidpipe.home)) as dagster:
        kept = dg.AssetRecordsFilter(dg.AssetKey("metadata"), asset_partitions=[other])
        (last,) = dagster.fetch_materializations(kept, limit=1).records
        assert last.asset_materialization is not None
        assert last.asset_materialization.metadata["frames"].value == 1
    assert vidpipe("prune").exit_code == 0, "what refers to it must not be missing"


@pytest.mark.soak
def test_what_was_forgotten_is_refused_until_it_is_wanted(two: tuple[Command, str, str], tmp_path: Path) -> None:
    vidpipe, sha256, _ = two
    assert vidpipe("forget", NAME, "--yes").exit_code == 0
    (tmp_path / NAME).rename(tmp_path / "another_gecko.mp4")
    for mode in ("copy", "hardlink", "reference"):
        (refused,) = vidpipe.json("add", tmp_path / "another_gecko.mp4", "--mode", mode, code=1)["inputs"]
        assert (refused["state"], refused["video"]) == ("refused", None)
        assert f"{datetime.now(UTC):%Y-%m-%d}" in refused["error"] or mode != "copy"
    assert naming({k: v for k, v in everything(vidpipe).items() if k.startswith("mongodb/")}, "another_gecko") == set()
    assert not list((vidpipe.home / "data" / "media").rglob(f"{sha256}*"))
    (added,) = vidpipe.json("add", tmp_path / "another_gecko.mp4", "--include-forgotten")["inputs"]
    assert (added["state"], added["video"]) == ("stored", sha256)
    with opened(vidpipe) as library:
        assert library.collections["tombstones"].count_documents({}) == 0


@pytest.mark.soak
def test_undo_restores_an_identical_export(two: tuple[Command, str, str], tmp_path: Path) -> None:
    vidpipe, sha256, _ = two
    assert vidpipe("export", tmp_path / "before.jsonl").exit_code == 0
    before = lines(tmp_path / "before.jsonl")
    files = {path: path.read_bytes() for path in (vidpipe.home / "data" / "media").rglob("*.mp4")}
    done = vidpipe.json("forget", NAME, "--yes")["videos"][0]
    copy = vidpipe.home / "data" / "undo" / f"{done['undo']}.sealed"
    assert sha256.encode() not in copy.read_bytes()
    assert b"quokka" not in copy.read_bytes()
    assert vidpipe.json("forget", "--undo", sha256[:12])["restored"] == sha256
    assert not copy.exists()
    assert vidpipe("export", tmp_path / "after.jsonl").exit_code == 0
    assert lines(tmp_path / "after.jsonl") == before
    assert {path: path.read_bytes() for path in (vidpipe.home / "data" / "media").rglob("*.mp4")} == files
    assert vidpipe.json("search", "quokka")["total"] == 1
    with instance(Settings(home=vidpipe.home)) as dagster:
        assert sha256 in dagster.get_dynamic_partitions("videos")
    assert vidpipe("forget", "--undo", sha256[:12]).exit_code == 1


@pytest.mark.soak
def test_undo_refuses_a_video_that_was_added_again(two: tuple[Command, str, str], tmp_path: Path) -> None:
    vidpipe, _, _ = two
    done = vidpipe.json("forget", NAME, "--yes")["videos"][0]
    assert vidpipe("add", tmp_path / NAME, "--include-forgotten").exit_code == 0
    assert vidpipe("forget", "--undo", done["undo"]).exit_code == 1
    assert len(vidpipe.json("list")["videos"]) == 2


#: A process that is killed by the number-th write to MongoDB.
KILLED = """
import os, signal, sys
from pymongo import monitoring

number, *arguments = sys.argv[1:]

class Listener(monitoring.CommandListener):
    left = int(number)
    def started(self, event):
        if event.command_name in ("update", "delete", "insert"):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    def failed(self, event): ...
    def succeeded(self, event): ...

monitoring.register(Listener())
from vidpipe.cli.main import main
sys.argv[1:] = arguments
main()
"""


@pytest.mark.soak
def test_killed_at_any_point_the_same_again_completes_it(two: tuple[Command, str, str], tmp_path: Path) -> None:
    vidpipe, sha256, _ = two
    assert vidpipe("export", tmp_path / "before.jsonl").exit_code == 0
    before = lines(tmp_path / "before.jsonl")
    killed = 0
    for arguments, numbers in ((("forget", sha256, "--yes"), (3, 4, 8, 12)), (("forget", "--undo", sha256), (1, 3, 6))):
        for number in numbers:
            command = [sys.executable, "-c", KILLED, str(number), *arguments]
            done = subprocess.run(command, env={**os.environ, **vidpipe.env}, check=False, capture_output=True)
            killed += done.returncode == -signal.SIGKILL
            if done.returncode != -signal.SIGKILL:
                break
        assert vidpipe(*arguments).exit_code == 0 or done.returncode == 0
    assert killed > 3
    assert vidpipe("export", tmp_path / "after.jsonl").exit_code == 0
    assert lines(tmp_path / "after.jsonl") == before
    assert not list((vidpipe.home / "data" / "undo").glob("*"))


@pytest.mark.soak
def test_keep_days_forgets_by_label_source_and_age(two: tuple[Command, str, str]) -> None:
    vidpipe, _, other = two
    with opened(vidpipe) as library:
        long_ago = datetime.now(UTC) - timedelta(days=40)
        library.collections["videos"].update_many({}, {"$set": {"added_at": long_ago}})
    for rules, count in (("50", 0), ("label:Xylophone=50,60", 0), ("source:https://no.example/=1", 0)):
        kinds = vidpipe.under(PRIVACY_KEEPDAYS=rules).json("prune", "--dry-run")["kinds"]
        assert {kind["kind"]: kind["count"] for kind in kinds}["privacy"] == count
    short = vidpipe.under(PRIVACY_KEEPDAYS="label:Xylophone=30,60")
    kinds = short.json("prune", "--dry-run")["kinds"]
    assert {kind["kind"]: kind["count"] for kind in kinds}["privacy"] == 1
    assert short("prune").exit_code == 0
    assert [one["video"] for one in vidpipe.json("list")["videos"]] == [other]
    assert short.under(PRIVACY_GRACEDAYS="0")("prune").exit_code == 0
    assert not list((vidpipe.home / "data" / "undo").glob("*"))


@pytest.mark.soak
def test_a_list_is_forgotten_with_the_videos_that_only_it_gives(two: tuple[Command, str, str]) -> None:
    vidpipe, sha256, other = two
    with opened(vidpipe) as library:
        sources = library.collections["sources"]
        sources.update_many({}, {"$set": {"lists": ["urls.txt"]}})
        sources.insert_one(
            {"_id": "more", "url": "https://a.example/b.mp4", "state": "stored", "video": other, "lists": []}
        )
        sources.insert_one({"_id": "bad", "url": "https://a.example/bad.mp4", "state": "failed", "lists": ["urls.txt"]})
    found = vidpipe.json("forget", "urls.txt", "--yes")
    assert [one["video"] for one in found["videos"]] == [sha256]
    with opened(vidpipe) as library:
        bad = library.collections["sources"].find_one({"_id": "bad"})
        assert bad == {"_id": "bad", "url": "", "state": "forgotten", "video": None, "lists": ["urls.txt"]}
    shown: Any = vidpipe.json("privacy", "report")
    assert {row["what"] for row in shown["kept"]} >= {"videos", "undo copies", "documents: tombstones", "log files"}
    assert "privacy" in COMMANDS
    assert vidpipe("privacy", "report").exit_code == 0
