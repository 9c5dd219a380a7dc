"""A library whose media are in another store than the local folders: the same library, whatever is on this disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from vidpipe.library.library import Library
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe.stages.registry import build_graph
from vidpipe_tests.cli.conftest import Command, command_on
from vidpipe_tests.clips import color_cuts, moving
from vidpipe_tests.storage.servers import StorageServer

#: What differs from run to run in the export of one and the same library.
_OF_THE_RUN = {"at", "run", "seconds", "decode_seconds", "first_seen", "last_fetched", "added_at"}


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Yield where two exports differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            if name not in _OF_THE_RUN:
                yield from differences(one.get(name), other.get(name), f"{place}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{place}[{number}]")
    elif one != other:
        yield f"{place}: {one} and {other}"


def exported(vidpipe: Command) -> list[Any]:
    lines = vidpipe("export", "-", "--format", "jsonl").stdout.splitlines()
    assert len(lines) == 2
    return sorted((json.loads(line) for line in lines), key=lambda one: str(one["video"]["sha256"]))


def evict(home: Path) -> None:
    """Empty the cache, as after a move to another machine."""
    for folder in (home / "data" / "cache", *(home / "data" / "media").glob("??"), *_packs(home)):
        shutil.rmtree(folder, ignore_errors=True)


def _packs(home: Path) -> list[Path]:
    return [path.parent for path in (home / "data" / "derived").glob("*/*/manifest.json")]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    color_cuts(folder / "cuts.mp4", ("red", "green", "blue"), audio="sine")
    moving(folder / "moving.mp4", seconds=1.0)
    return folder


@pytest.fixture(scope="module")
def local(clips: Path, mongod_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    with command_on(tmp_path_factory.mktemp("local"), mongod_uri) as command:
        assert command("add", clips, "--run").exit_code == 0
        yield command


#: The store of a library, and the fixture of its server.
STORES = {
    "gridfs": None,
    "s3://films/a/library": "s3_storage",
    "gs://films/library": "gcs_storage",
    "az://films/library": "azure_storage",
    "dropbox://library": "dropbox_storage",
}


@pytest.fixture(
    params=[pytest.param(url, marks=[pytest.mark.soak] if server else []) for url, server in STORES.items()]
)
def remote(
    clips: Path, mongod_uri: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """The same library in another store."""
    if server := STORES[request.param]:
        request.getfixturevalue(server).use(monkeypatch)
    with command_on(tmp_path / "remote", mongod_uri) as command:
        vidpipe = command.under(STORAGE_MEDIA=request.param)
        result = vidpipe("add", clips, "--run")
        assert result.exit_code == 0, result.output
        yield vidpipe


def test_the_exported_library_is_the_same_and_everything_works_with_an_empty_cache(
    local: Command, remote: Command
) -> None:
    assert list(differences(exported(remote), exported(local))) == []
    evict(remote.home)
    assert [stage for stage, one in remote.json("run")["stages"].items() if one["computed"]] == []
    store = remote.env["VIDPIPE_STORAGE_MEDIA"]
    status = remote.json("store", "status")
    assert (status["stores"][store]["videos"], status["stores"][store]["packs"]) == (2, 2)

    changed = remote.under(SCENEDETECTION_DETECTOR="content", SCENEDETECTION_FRAMESPERSCENE="3")
    report = changed.json("run")
    assert report["failures"] == []
    assert report["stages"]["scenes"]["computed"] == 2
    assert len(list((remote.home / "data" / "media").glob("??/*"))) == 2

    evict(remote.home)
    (sha256, _) = [one["video"]["sha256"] for one in exported(changed)]
    assert changed("check", sha256).exit_code == 0
    evict(remote.home)
    saved = changed.json("backup", remote.home / "backups", "--media", "--derived")
    assert (saved["media"]["missing"], saved["media"]["copied"] + saved["media"]["linked"]) == (0, 2)
    assert len(list((remote.home / "backups").glob("*/derived/*/*/manifest.json"))) == 4

    evict(remote.home)
    kinds = changed.under(RETENTION_DERIVEDDAYS="0").json("prune")["kinds"]
    (pruned,) = [one for one in kinds if one["kind"] == "derived"]
    assert (pruned["count"], pruned["error"]) == (2, "")
    assert changed.json("store", "verify", "--hash") == {"problems": []}

    before = exported(changed)
    changed("forget", sha256, "--yes")
    assert not [path for path in (remote.home / "data").rglob("*") if sha256 in path.name]
    assert changed.json("store", "verify", "--hash") == {"problems": []}
    assert changed.json("store", "status")["stores"][store]["videos"] == 1
    assert changed("forget", "--undo", sha256).exit_code == 0
    assert list(differences(exported(changed), before)) == []
    assert changed.json("store", "verify", "--hash") == {"problems": []}
    evict(remote.home)
    assert changed("check", sha256).exit_code == 0

    moved = changed.json("store", "move", "local")
    assert (moved["count"], moved["notes"]) == (4, [])
    assert changed.json("store", "move")["count"] == 4
    assert changed.json("store", "verify", "--hash") == {"problems": []}
    assert list(differences(exported(changed), before)) == []


@pytest.mark.soak
@pytest.mark.parametrize("store", ["gridfs", "s3://films/library"])
def test_nothing_is_left_in_stores_and_undo_stores_it_again(
    clips: Path, mongod_uri: str, tmp_path: Path, *, store: str, s3_storage: StorageServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    s3_storage.use(monkeypatch)
    with command_on(tmp_path / "remote", mongod_uri) as command:
        vidpipe = command.under(STORAGE_MEDIA=store)
        report = vidpipe.json("add", clips, "--run")
        sha256 = report["inputs"][0]["video"]
        settings = Settings(home=vidpipe.home, mongodb=MongoDB(
            uri=SecretStr(mongod_uri), database_name=vidpipe.env["VIDPIPE_MONGODB_DATABASENAME"]
        ))  # fmt: skip
        with Library.open(settings, build_graph(settings)) as library:
            kept = library.stores.of(store)
            before = {found.key: found.size_bytes for found in kept.objects("")}
            done = vidpipe.json("forget", sha256, "--yes")["videos"][0]
            assert done["removed"][store] == 2
            assert {key for key in before if sha256 not in key} == {found.key for found in kept.objects("")}
            assert not list((vidpipe.home / "data").rglob(f"*{sha256}*"))
            assert vidpipe("forget", "--undo", sha256).exit_code == 0
            assert {found.key for found in kept.objects("")} == before.keys()
            assert vidpipe("check", sha256).exit_code == 0
