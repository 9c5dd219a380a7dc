"""vidpipe store, originals that are deleted after processing, and exports into stores: as a user calls them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from vidpipe.storage.stores import Stores
from vidpipe.storage.verified_store import VerifiedStore
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.operations.retention.folder_store import OTHER, FolderStore


@pytest.fixture(autouse=True)
def _stores_in_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every remote store is a folder of the home."""

    original = Stores._new

    def new(self: Stores, url: str) -> VerifiedStore:
        return FolderStore(url, folder_of(self.settings.home, url)) if url.startswith("s3:") else original(self, url)

    monkeypatch.setattr(Stores, "_new", new)


def folder_of(home: Path, url: str) -> Path:
    return home / "stores" / url.replace("/", "_")


@contextlib.contextmanager
def collection(vidpipe: Command, name: str) -> Iterator[Collection[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](vidpipe.env["VIDPIPE_MONGODB_URI"]) as client:
        database = client[vidpipe.env["VIDPIPE_MONGODB_DATABASENAME"]]
        yield next(database[one] for one in database.list_collection_names() if one.endswith(name))


def videos(vidpipe: Command) -> list[dict[str, Any]]:
    with collection(vidpipe, "videos") as found:
        return list(found.find())


def files(vidpipe: Command) -> list[str]:
    return sorted(path.suffix for path in (vidpipe.home / "data" / "media").glob("??/*"))


@pytest.fixture
def processed(vidpipe: Command, site: tuple[str, Path]) -> Command:
    """One video from an HTTP server through all stages."""
    address, folder = site
    clips.color_cuts(folder / "cuts.mp4", ("red", "green", "blue"))
    result = vidpipe("add", f"{address}/cuts.mp4", "--run", "--json")
    assert result.exit_code == 0, result.output
    return vidpipe


def scenes_of(report: dict[str, Any]) -> dict[str, int]:
    return {state: number for state, number in report["stages"]["scenes"].items() if number and state != "seconds"}


def test_a_dropped_original_waits_for_consent_and_is_dropped_again(processed: Command, tmp_path: Path) -> None:
    dropping = processed.under(STORAGE_KEEPORIGINALS="no")
    (before,) = videos(processed)
    (told,) = [one for one in dropping.json("prune", "--dry-run")["kinds"] if one["kind"] == "originals"]
    assert len(files(processed)) == 1
    (done,) = [one for one in dropping.json("prune")["kinds"] if one["kind"] == "originals"]
    assert done == told
    assert (done["count"], done["notes"]) == (1, [])
    assert files(processed) == []
    report = processed.json("run")
    assert all(counts["failed"] == counts["computed"] == 0 for counts in report["stages"].values()), report
    (after,) = videos(processed)
    assert after.pop("storage")["media"] == "dropped"
    assert {name: entry["status"] for name, entry in after["stages"].items()} == {
        name: entry["status"] for name, entry in before["stages"].items()
    }
    status = processed.json("store", "status")
    assert status["stores"]["dropped"]["videos"] == 1
    assert status["dropped_without_source"] == 0

    changed = processed.under(SCENEDETECTION_DEFAULTTHRESHOLD="12")
    plan = changed.json("plan")
    assert (plan["stages"]["scenes"]["due"], plan["stages"]["scenes"]["waiting"]) == (0, 1)
    assert changed.json("plan", "--refetch")["stages"]["scenes"]["due"] == 1
    assert "waiting for deleted originals" in changed("plan").output
    assert any("wait for their original" in sentence for sentence in changed.json("status")["waiting"])
    assert scenes_of(changed.json("run")) == {"waiting": 1}
    assert "Waiting for deleted originals" in changed("run").output
    assert files(processed) == []
    fetched = changed.json("run", "--refetch")
    assert scenes_of(fetched) == {"computed": 1}
    assert all(counts["failed"] == 0 for counts in fetched["stages"].values())
    assert files(processed) == [".mp4"]
    assert videos(processed)[0]["storage"].get("media", "local") == "local"
    assert changed.under(STORAGE_KEEPORIGINALS="no")("prune").exit_code == 0
    assert files(processed) == []


@pytest.mark.soak
def test_refetch_mb_allows_it_without_asking_until_it_is_used_up(processed: Command) -> None:
    dropping = processed.under(STORAGE_KEEPORIGINALS="no")
    assert dropping("prune").exit_code == 0
    path = processed.home / "data" / "media"
    (video,) = videos(processed)
    size_bytes = video["ingest"]["size_bytes"]
    assert size_bytes < 1_000_000
    changed = dropping.under(SCENEDETECTION_DEFAULTTHRESHOLD="12", STORAGE_REFETCHMB="1")
    assert scenes_of(changed.json("run", "--stages", "raw_video,metadata,scenes")) == {"computed": 1}
    changed("run")
    assert changed("prune").exit_code == 0
    assert list(path.glob("??/*")) == []
    with collection(processed, "meta") as meta:
        (reserved,) = meta.find_one({"_id": "refetched originals"})["all"]  # type: ignore[index]
        assert reserved["size_bytes"] == size_bytes
        meta.update_one({"_id": "refetched originals"}, {"$set": {"all.0.size_bytes": 1_000_000}})
    again = changed.under(SCENEDETECTION_DEFAULTTHRESHOLD="14")
    assert scenes_of(again.json("run")) == {"waiting": 1}
    assert list(path.glob("??/*")) == []


@pytest.mark.soak
def test_a_dropped_original_whose_source_is_gone_fails_with_its_reason_and_keeps_its_results(
    processed: Command, site: tuple[str, Path]
) -> None:
    assert processed.under(STORAGE_KEEPORIGINALS="no")("prune").exit_code == 0
    (site[1] / "cuts.mp4").unlink()
    changed = processed.under(SCENEDETECTION_DEFAULTTHRESHOLD="12")
    report = changed.json("run", "--refetch", code=1)
    (failure,) = report["failures"]
    assert (failure["stage"], "404" in failure["message"]) == ("raw_video", True)
    (video,) = videos(processed)
    assert video["scenes"]
    assert video["storage"]["media"] == "dropped"


@pytest.mark.soak
def test_originals_without_a_source_are_kept(vidpipe: Command, tmp_path: Path) -> None:
    file = clips.moving(tmp_path / "clip.mp4", seconds=1.0)
    assert vidpipe("add", file, "--run").exit_code == 0
    file.unlink()
    (done,) = [
        one for one in vidpipe.under(STORAGE_KEEPORIGINALS="no").json("prune")["kinds"] if one["kind"] == "originals"
    ]
    assert (done["count"], done["notes"]) == (0, ["1 are kept, because no known source can give them again."])
    assert files(vidpipe) == [".mp4"]


@pytest.mark.soak
def test_old_originals_move_to_cold_media(processed: Command) -> None:
    cold = processed.under(STORAGE_COLDMEDIA="s3://cold")
    assert cold("prune").exit_code == 0
    assert files(processed) == [".mp4"]
    assert cold.under(STORAGE_COLDAFTERDAYS="0")("prune").exit_code == 0
    assert files(processed) == []
    (video,) = videos(processed)
    assert video["storage"]["media"] == "s3://cold"
    assert cold.json("store", "verify", "--hash") == {"problems": []}


def test_store_move_verify_and_repair(processed: Command) -> None:
    told = processed.json("store", "move", OTHER, "--dry-run")
    assert (told["dry_run"], told["count"], len(files(processed))) == (True, 2, 1)
    done = processed.json("store", "move", OTHER, "--where", "duration_gt=0", "--limit", "5")
    assert (done["count"], done["size_bytes"]) == (2, told["size_bytes"])
    elsewhere = processed.json("store", "status")
    assert (elsewhere["media"], list(elsewhere["stores"])) == ("local", [OTHER])
    assert (elsewhere["stores"][OTHER]["videos"], elsewhere["stores"][OTHER]["packs"]) == (1, 1)
    assert OTHER in processed("store", "status").stdout
    assert processed("store", "verify", "--hash").exit_code == 0
    (stored,) = folder_of(processed.home, OTHER).glob("media/*/*")
    stored.unlink()
    (problem,) = processed.json("store", "verify", code=1)["problems"]
    assert (problem["problem"], problem["store"]) == ("missing", OTHER)
    assert "missing: media/" in processed("store", "verify").stdout
    assert processed.json("store", "repair")["notes"] == []
    assert stored.is_file()
    assert processed("store", "verify", "--hash").exit_code == 0
    assert processed.json("store", "move", "ftp://nowhere", code=2)["error"]["message"]


@pytest.mark.parametrize("name", ["videos.jsonl", "videos.csv", "videos.parquet", "videos"])
def test_an_export_into_a_store_is_the_same_as_into_a_file(filled: Command, tmp_path: Path, name: str) -> None:
    local = tmp_path / name
    assert filled("export", local).exit_code == 0
    done = filled.json("export", f"{OTHER}/{name}")
    assert done["path"] == f"{OTHER}/{name}"
    stored = folder_of(filled.home, f"{OTHER}/{name}" if local.is_dir() else OTHER)
    written = sorted(local.iterdir()) if local.is_dir() else [local]
    assert written
    for file in written:
        assert (stored / file.name).read_bytes() == file.read_bytes()
    with collection(filled, "exports") as exports:
        assert {row["destination"] for row in exports.find()} >= {str(local), done["path"]}
