"""Who holds a video, and what becomes of it when its holder is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vidpipe.library.leases import LEASE_S, Journal, take_dead
from vidpipe.library.library import Library
from vidpipe.library.process_names import is_dead, this_process
from vidpipe.settings import Settings
from vidpipe_tests.library.sample_library import GRAPH, fill, sha256_of


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


def _ended_process() -> str:
    command = "from vidpipe.library.process_names import this_process; print(this_process())"
    return subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True).stdout.strip()


def test_a_process_is_dead_when_it_has_ended_and_not_before() -> None:
    assert not is_dead(this_process())
    assert is_dead(_ended_process())
    assert not is_dead(this_process().replace("/", "/another", 1)), (
        "another machine's processes cannot be seen from here"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="looks at a child that nobody has waited for, as Linux shows it")
def test_a_process_that_nobody_waited_for_is_dead() -> None:
    machine = this_process().split("|")[0]
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    name = f"{machine}|{child.pid}|{started}"
    assert not is_dead(name)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(name)
    child.wait()


def test_what_an_owner_left_unfinished_is_removed_when_its_lease_has_run_out(library: Library) -> None:
    """Its machine is gone: nobody can say that it died, but its lease is not renewed."""
    fill(library, "harbour.mp4")
    sha256 = sha256_of("harbour.mp4")
    then = datetime.now(UTC) - timedelta(seconds=1)
    lease: dict[str, Any] = {"owner": "elsewhere/0/0|1|1|a", "until": then}
    library.collections["videos"].update_one({"_id": sha256}, {"$set": {"lease": lease}})
    library.collections["scenes"].insert_one({"_id": "left", "video": sha256, "generation": "never", "index": 0})
    later = datetime.now(UTC) + timedelta(seconds=1)
    library.collections["lineage"].insert_one({"_id": "left:0", "video": sha256, "stage": "tags", "at": later})
    before = len(library.videos.scenes([sha256])[sha256])
    owner = {"_id": lease["owner"], "begun": [[sha256, "tags"]], "renewed_at": then}
    library.collections["owners"].insert_one(owner)
    with library.leases() as leases:
        (row,) = leases.take([sha256], {"stages": 1})
        assert row["_id"] == sha256
        assert row["stages"]["tags"]["crashes"] == 1
        assert "from" not in row["lease"]
        leases.give_back([sha256])
        (again,) = leases.take([sha256], {"stages": 1})
        assert again["stages"]["tags"]["crashes"] == 1, "a crash counts once"
    assert library.collections["scenes"].count_documents({}) == before > 0
    assert library.collections["lineage"].count_documents({"_id": "left:0"}) == 0
    assert library.collections["lineage"].count_documents({"video": sha256, "stage": "tags"}) == 1


def test_what_begins_is_known_to_the_other_machines_at_once(library: Library) -> None:
    """A container whose process dies takes its journal with it."""
    with library.leases() as leases:
        leases.journal.begin("a video", "tags")
        deadline = time.monotonic() + LEASE_S / 8
        while (known := library.collections["owners"].find_one({"_id": leases.owner})) is None:
            assert time.monotonic() < deadline, "it is told with the next renewal only"
            time.sleep(0.01)
        assert known["begun"] == [["a video", "tags"]]
    assert library.collections["owners"].count_documents({}) == 0


def test_the_journal_stays_small_and_says_what_was_open(tmp_path: Path) -> None:
    owner = f"{_ended_process()}|abcd"
    written = Journal(tmp_path, owner)
    written.begin("first", "scenes")
    for number in range(1000):
        written.begin(str(number), "tags")
        if number != 7:
            written.end(str(number), "tags")
    (file,) = tmp_path.iterdir()
    assert len(file.read_text().splitlines()) <= 60
    assert take_dead(tmp_path) == {owner: {("first", "scenes"), ("7", "tags")}}
    assert not list(tmp_path.iterdir())


def test_only_what_dead_processes_of_this_machine_held_is_freed_and_counted(library: Library) -> None:
    fill(library, "harbour.mp4", "race.mkv")
    videos, until = library.collections["videos"], datetime.now(UTC) + timedelta(seconds=LEASE_S)
    dead, elsewhere = f"{_ended_process()}|abcd", "elsewhere/0/0|1|1|a"
    for name, owner in (("harbour.mp4", dead), ("race.mkv", elsewhere)):
        videos.update_one({"_id": sha256_of(name)}, {"$set": {"lease": {"owner": owner, "until": until}}})
    Journal(library.settings.data_directory / "run", dead).begin(sha256_of("harbour.mp4"), "tags")
    assert library.free_dead() == 1
    assert videos.distinct("lease.owner") == [elsewhere]
    freed = videos.find_one({"_id": sha256_of("harbour.mp4")})
    assert freed is not None
    assert freed["stages"]["tags"]["crashes"] == 1
    assert library.free_dead() == 0
