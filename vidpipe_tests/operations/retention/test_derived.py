"""Frame packs and thumbnails: what a document names stays, and what a running process may be about to name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.media.frame_pack import FramePackWriter
from vidpipe.operations.retention import PruneReport
from vidpipe.operations.retention.video_removal import delete_unreferenced
from vidpipe.settings import Settings
from vidpipe_tests.operations.retention.conftest import age, both, write

Add = Callable[[str], str]


def pack(settings: Settings, sha256: str, version: str, days: float, size: int = 1000) -> Path:
    folder = settings.derived_directory / sha256 / version
    write(folder / "frames.pack", size)
    write(folder / "manifest.json", 10)
    age(folder, days)
    return folder


def name_it(library: Library, sha256: str, folder: Path, **more: str) -> None:
    path = library.settings.relative(folder)
    values = {f"{library.graph.key('scenes')}.pack.path": path, **more}
    library.collections["videos"].update_one({"_id": sha256}, {"$set": values})


def test_old_versions_go_and_what_is_named_or_young_stays(settings: Settings, library: Library, video: Add) -> None:
    a, b = video("a"), video("b")
    named = pack(settings, a, "1" * 16, 90)
    old = pack(settings, a, "2" * 16, 30)
    young = pack(settings, a, "3" * 16, 0.5)
    name_it(library, a, named)
    poster = pack(settings, b, "4" * 16, 90)
    key = library.graph.key("scenes")
    relative = settings.relative(poster / "thumb_00000.jpg")
    library.collections["videos"].update_one({"_id": b}, {"$set": {f"{key}.poster": relative}})
    thumbnail = pack(settings, b, "5" * 16, 90)
    library.collections["scenes"].insert_one(
        {"_id": "s", "video": b, "thumbnail": settings.relative(thumbnail / "t.jpg")}
    )
    report = both(partial(delete_unreferenced, settings, library))
    assert (report.count, report.size_bytes) == (1, 1010)
    assert not old.exists()
    assert all(folder.is_dir() for folder in (named, young, poster, thumbnail))
    assert sorted(path.name for path in old.parent.iterdir()) == [named.name, young.name]


def test_a_video_that_is_worked_on_is_left_alone(settings: Settings, library: Library, video: Add) -> None:
    sha256 = video("a")
    pack(settings, sha256, "1" * 16, 30)
    with library.leases() as leases:
        assert leases.take([sha256], {"_id": 1})
        assert both(partial(delete_unreferenced, settings, library)).count == 0
        leases.give_back([sha256])
    assert both(partial(delete_unreferenced, settings, library)).count == 1
    document = library.videos.get(sha256)
    assert document is not None
    assert "lease" not in document


def test_folders_of_videos_that_are_gone_go_whole_once_all_in_them_is_old(
    settings: Settings, library: Library, video: Add
) -> None:
    gone, mixed = (hashlib.sha256(name.encode()).hexdigest() for name in ("gone", "mixed"))
    for name in "abc":
        name_it(library, sha256 := video(name), pack(settings, sha256, "1" * 16, 30))
    for version in "12":
        pack(settings, gone, version * 16, 30)
    pack(settings, mixed, "1" * 16, 30)
    pack(settings, mixed, "2" * 16, 0)
    mine = write(settings.derived_directory / "my notes" / "x", days=90)
    assert both(partial(delete_unreferenced, settings, library)).count == 2
    assert not (settings.derived_directory / gone).exists()
    assert len(list((settings.derived_directory / mixed).iterdir())) == 2
    assert mine.exists()


def test_with_the_wrong_database_nothing_is_deleted(settings: Settings, library: Library, video: Add) -> None:
    for number in range(25):
        pack(settings, hashlib.sha256(str(number).encode()).hexdigest(), "1" * 16, 90)
    for dry_run in (True, False):
        with pytest.raises(VidpipeError, match="25 of the 25 folders in data/derived belong to videos that are not"):
            delete_unreferenced(settings, library, PruneReport("derived"), dry_run)
    assert len(list(settings.derived_directory.iterdir())) == 25


def test_what_a_killed_run_was_writing_goes_and_what_is_being_written_stays(
    settings: Settings, library: Library, video: Add
) -> None:
    sha256 = video("a")
    with FramePackWriter(settings, sha256) as writer:
        age(writer.folder, 30)
        left = pack(settings, sha256, ".partial-left", 30)
        assert both(partial(delete_unreferenced, settings, library)).count == 1
        assert writer.folder.is_dir()
        assert not left.exists()


def test_links_are_not_followed(settings: Settings, library: Library, video: Add, tmp_path: Path) -> None:
    sha256 = video("a")
    elsewhere = write(tmp_path / "elsewhere" / "precious.mp4", days=90).parent
    (settings.derived_directory / sha256).mkdir(parents=True)
    (settings.derived_directory / sha256 / "link").symlink_to(elsewhere)
    folder = pack(settings, sha256, "1" * 16, 30)
    (folder / "inside").symlink_to(elsewhere)
    age(folder, 30)
    both(partial(delete_unreferenced, settings, library))
    assert (elsewhere / "precious.mp4").exists()
