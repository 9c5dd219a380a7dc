"""Downloads nobody goes on with, journals of other machines, figures of old runs; and each kind alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from vidpipe.errors import UnavailableError
from vidpipe.library.library import Library
from vidpipe.library.process_names import this_process
from vidpipe.library.runs import TOTALS
from vidpipe.operations.proxies import PARTIAL, clips_folder, proxy_path
from vidpipe.operations.retention import PruneReport, PruneTask, cutoff, prune
from vidpipe.operations.retention.home_tasks import (
    delete_clips,
    delete_downloads,
    delete_journals,
    delete_proxies,
    delete_run_figures,
    home_tasks,
)  # fmt: skip
from vidpipe.settings import Settings
from vidpipe.sources.media_store import MediaStore
from vidpipe_tests.operations.retention.conftest import age, both, write


def test_partial_downloads_go_when_nobody_goes_on_with_them(settings: Settings) -> None:
    assert both(partial(delete_downloads, settings)).count == 0
    store = MediaStore(settings)
    for stem, days in (("a" * 32, 8), ("b" * 32, 3), ("c" * 32, 8)):
        for suffix in ("part", "json", "lock"):
            write(store.incoming / f"{stem}.{suffix}", 10, days)
    with store.hold("c" * 32, threading.Event()):
        report = both(partial(delete_downloads, settings))
    assert (report.count, report.size_bytes) == (3, 30)
    assert sorted({path.name[0] for path in store.incoming.iterdir()}) == ["b", "c"]


def test_playable_copies_and_clips_go_with_their_videos_and_when_nobody_finishes_them(
    settings: Settings, library: Library, video: Callable[[str], str]
) -> None:
    tasks = [partial(task, settings, library) for task in (delete_proxies, delete_clips)]
    assert [both(task).count for task in tasks] == [0, 0]
    kept = [write(proxy_path(settings, video("a"))), write(proxy_path(settings, f"{PARTIAL}{'c' * 64}"))]
    gone = [write(proxy_path(settings, "b" * 64)), write(proxy_path(settings, f"{PARTIAL}{'d' * 64}"), 50, 8)]
    kept += [write(clips_folder(settings, kept[0].stem) / name) for name in ("1.mp4", f"{PARTIAL}2.mp4")]
    gone += [write(clips_folder(settings, kept[0].stem) / f"{PARTIAL}3.mp4", 50, 8)]
    gone += [write(clips_folder(settings, "b" * 64) / "4.mp4")]
    gone += [write(clips_folder(settings, kept[0].stem) / "5.mp4", 50, 31)]
    assert [(report.count, report.size_bytes) for report in map(both, tasks)] == [(2, 150), (3, 200)]
    assert [path.exists() for path in (*kept, *gone)] == [True] * 4 + [False] * 5
    assert not clips_folder(settings, "b" * 64).exists()


def test_journals_of_other_machines_go_unless_they_hold_a_lease_or_live(
    settings: Settings, library: Library, video: Callable[[str], str]
) -> None:
    run = settings.data_directory / "run"

    def journal(name: str, owner: str, days: float) -> Path:
        path = write(run / f"{name}.journal")
        path.write_text(f"{owner}\n+ {'a' * 64} scenes\n")
        age(path, days)
        return path

    sha256 = video("a")
    library.collections["videos"].update_one({"_id": sha256}, {"$set": {"lease": {"owner": "far/1/2|7|8|held"}}})
    gone = journal("gone", "far/1/2|7|8|gone", 10)
    kept = [
        journal("held", "far/1/2|7|8|held", 10),
        journal("young", "far/1/2|7|8|young", 1),
        journal("here", f"{this_process()}|here", 10),
    ]
    assert both(partial(delete_journals, settings, library)).count == 1
    assert not gone.exists()
    assert all(path.exists() for path in kept)


def test_figures_of_old_runs_go_and_the_totals_stay(library: Library) -> None:
    runs = library.collections["runs"]
    now = datetime.now(UTC)
    runs.insert_many([{"_id": f"run {days}", "began_at": now - timedelta(days=days)} for days in (1, 399, 401, 500)])
    runs.insert_one({"_id": TOTALS, "since": now - timedelta(days=500), "bytes_in": 7})
    report = both(partial(delete_run_figures, runs, cutoff(400)))
    assert report.count == 2
    assert report.size_bytes > 50
    assert {row["_id"] for row in runs.find()} == {"run 1", "run 399", TOTALS}


def test_an_error_in_one_kind_is_told_and_the_others_go_on(settings: Settings, library: Library) -> None:
    def broken(report: PruneReport, dry_run: bool) -> None:
        report.add(5, None)
        raise OSError(28, "No space left on device")

    old = write(settings.data_directory / "logs" / "vidpipe.log.1", days=90)
    kinds = [PruneTask("broken", broken), *home_tasks(settings, library)]
    reports = prune(kinds, settings.data_directory / "run")
    assert reports[0].error == "OSError: [Errno 28] No space left on device"
    assert reports[0].count == 1
    assert [report.error for report in reports[1:]] == [""] * (len(kinds) - 1)
    assert not old.exists()


def test_two_clean_ups_of_a_home_keep_out_of_each_others_way(tmp_path: Path) -> None:
    def again(report: PruneReport, dry_run: bool) -> None:
        with pytest.raises(UnavailableError, match="Another clean-up"):
            prune([], tmp_path)
        report.add(0, None)

    (report,) = prune([PruneTask("outer", again)], tmp_path)
    assert (report.count, report.error) == (1, "")
