"""Whoever has lost a video's lease commits nothing to it, at whatever moment it lost it."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.command_cursor import CommandCursor
from pymongo.results import DeleteResult

from vidpipe.library import leases, server_clock
from vidpipe.library.changes import Changes
from vidpipe.library.commits import Commit, Committer, PreparedCommit, prepare
from vidpipe.library.leases import Leases
from vidpipe.library.library import Library
from vidpipe.library.schema import Document
from vidpipe.settings import Settings
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.runner.small_graph import GRAPH, Length, Part, Parts

IDS = [f"{number:064x}" for number in range(3)]


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        for sha256 in IDS:
            opened.videos.add(sha256, IngestFacts(path="a", size_bytes=1, modified_ns=1, names=("a",)))
        yield opened


class PausedChanges(Changes):
    """Lets a commit wait between its scenes and lineage and its commit point, as on a machine that is suspended."""

    def __init__(self, library: Library) -> None:
        super().__init__(library.collections)
        self.arrived, self.released = threading.Event(), threading.Event()

    def take(self, count: int = 1) -> range:
        self.arrived.set()
        assert self.released.wait(60)
        return super().take(count)


class SuspendedCollection(Collection[Document]):
    """A collection whose user is suspended before its first call of one method."""

    def __init__(self, collection: Collection[Document], method: str) -> None:
        super().__init__(collection.database, collection.name)
        self._method = method
        self.arrived, self.released = threading.Event(), threading.Event()

    def aggregate(self, *args: Any, **options: Any) -> CommandCursor[Document]:
        self._wait("aggregate")
        return super().aggregate(*args, **options)

    def delete_many(self, *args: Any, **options: Any) -> DeleteResult:
        self._wait("delete_many")
        return super().delete_many(*args, **options)

    def _wait(self, method: str) -> None:
        if method == self._method:
            self.arrived.set()
            assert self.released.wait(60)


def length_of(row: Document, letters: int) -> PreparedCommit:
    return _prepared(row, "length", Length(letters=letters, parity="odd"), {"ingest": {"names": ""}})


def parts_of(row: Document, count: int) -> PreparedCommit:
    parts = [Part(index=index, text=f"{count}") for index in range(count)]
    return _prepared(row, "parts", Parts(parts=tuple(parts), count=count), {})


def _prepared(row: Document, stage: str, result: Any, inputs: dict[str, dict[str, str]]) -> PreparedCommit:
    read = {name: fields for name, fields in inputs.items() if name in GRAPH.names}
    commit = Commit(
        sha256=row["_id"], stage=stage, spec="s", inputs=read, entry=row["stages"][stage], run_id="r",
        run_began=server_clock.now(), result=result, generation=row.get("scene_generation"),
        lease=row["lease"]["token"],
    )  # fmt: skip
    return prepare(commit, GRAPH)


def committer(library: Library, changes: Changes | None = None) -> Committer:
    return Committer(library.collections, GRAPH, changes or library.changes)


@pytest.fixture(autouse=True)
def _late_commits_have_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LATEST_ARRIVAL", timedelta(minutes=-30))


def expire(library: Library, *ids: str) -> None:
    then = datetime.now(UTC) - timedelta(seconds=1)
    library.collections["videos"].update_many({"_id": {"$in": list(ids)}, "lease": {"$exists": True}},
                                              {"$set": {"lease.until": then}})  # fmt: skip


def left_over(library: Library) -> dict[str, int]:
    """What no video's document names: scenes of other generations, lineage of other commits than the given ones."""
    videos = {row["_id"]: row for row in library.collections["videos"].find()}
    scenes = [row for row in library.collections["scenes"].find()
              if row["generation"] != videos[row["video"]].get("scene_generation")]  # fmt: skip
    marked = [row for row in videos.values() if "lease" in row or "late_commit" in row]
    return {"scenes": len(scenes), "marked": len(marked)}


FIELDS = {"stages": 1, "scene_generation": 1}


def test_a_commit_under_a_lease_that_was_lost_and_taken_again_is_refused(library: Library) -> None:
    """Another run had the video in between: the owner's name is the same, its token is not."""
    (sha256, *_) = IDS
    with library.leases() as first, library.leases() as second:
        (row,) = first.take([sha256], FIELDS)
        old = length_of(row, 1)
        expire(library, sha256)
        (other,) = second.take([sha256], FIELDS)
        assert committer(library).write([length_of(other, 2)], second.owner, [sha256])[0] is not None
        (again,) = first.take([sha256], FIELDS)
        assert again["lease"]["owner"] == row["lease"]["owner"]
        assert again["lease"]["token"] != row["lease"]["token"]
        assert committer(library).write([old], first.owner) == [None]
        document = library.collections["videos"].find_one({"_id": sha256}) or {}
        assert document["length"]["letters"] == 2
        assert library.collections["lineage"].count_documents({"video": sha256}) == 1


def test_a_commit_that_was_under_way_when_the_lease_was_lost_leaves_nothing(library: Library) -> None:
    (sha256, *_) = IDS
    paused = PausedChanges(library)
    with library.leases() as first, library.leases() as second:
        (row,) = first.take([sha256], FIELDS)
        came_of_it: list[Any] = []
        late = threading.Thread(
            target=lambda: came_of_it.extend(
                committer(library, paused).write([parts_of(row, 5)], first.owner, [sha256])
            )
        )
        late.start()
        assert paused.arrived.wait(30)
        expire(library, sha256)
        (other,) = second.take([sha256], FIELDS)
        assert library.collections["scenes"].count_documents({}) == 0, "what the first one wrote is removed at once"
        assert library.collections["lineage"].count_documents({}) == 0
        assert committer(library).write([parts_of(other, 2)], second.owner, [sha256])[0] is not None
        paused.released.set()
        late.join()
        assert came_of_it == [None]
        assert library.collections["scenes"].count_documents({}) == 2
        assert library.collections["lineage"].count_documents({}) == 1
        second.free_dead()
    assert left_over(library) == {"scenes": 0, "marked": 0}


@pytest.mark.parametrize("before", ["aggregate", "delete_many"])
def test_scenes_that_another_owner_stores_again_are_not_removed_as_replaced(library: Library, before: str) -> None:
    """An owner is suspended after its commit, before it removes the scenes that it replaced."""
    (sha256, *_) = IDS
    scenes = SuspendedCollection(library.collections["scenes"], before)
    suspended = Committer({**library.collections, "scenes": scenes}, GRAPH, library.changes)
    with library.leases() as first, library.leases() as second:
        (row,) = first.take([sha256], FIELDS)
        committer(library).write([parts_of(row, 3)], first.owner)
        (row,) = first.take([sha256], FIELDS)
        replacing = threading.Thread(target=suspended.write, args=([parts_of(row, 5)], first.owner, [sha256]))
        replacing.start()
        assert scenes.arrived.wait(30)
        expire(library, sha256)
        (other,) = second.take([sha256], FIELDS)
        assert committer(library).write([parts_of(other, 3)], second.owner, [sha256])[0] is not None
        scenes.released.set()
        replacing.join()
        second.free_dead()
    assert [part["text"] for part in library.videos.scenes([sha256])[sha256]] == ["3"] * 3
    assert left_over(library) == {"scenes": 0, "marked": 0}


def test_scenes_that_arrive_after_the_commit_of_another_are_removed(library: Library) -> None:
    """The former owner was cut off before it had written anything."""
    (sha256, *_) = IDS
    with library.leases() as first, library.leases() as second:
        (row,) = first.take([sha256], FIELDS)
        late = parts_of(row, 5)
        expire(library, sha256)
        (other,) = second.take([sha256], FIELDS)
        committer(library).write([parts_of(other, 2)], second.owner, [sha256])
        assert committer(library).write([late], first.owner, [sha256]) == [None]
        first.free_dead()
    assert library.collections["scenes"].count_documents({}) == 2
    assert library.collections["lineage"].count_documents({}) == 1
    assert left_over(library) == {"scenes": 0, "marked": 0}


def test_no_lineage_of_a_commit_is_taken_for_a_leftover_after_the_servers_clock_went_back(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new primary's clock is minutes behind the former one's."""
    (sha256, *_) = IDS
    for minutes in (0, -5, 5, -10):
        now = datetime.now(UTC) + timedelta(minutes=minutes)
        monkeypatch.setattr(server_clock, "now", lambda now=now: now)
        with library.leases() as mine:
            (row,) = mine.take([sha256], FIELDS)
            assert committer(library).write([length_of(row, 10 + minutes)], mine.owner, [sha256])[0] is not None
        library.collections["videos"].update_one({"_id": sha256}, {"$set": {"late_commit": {"tokens": [], "at": now}}})
    monkeypatch.undo()
    with library.leases() as mine:
        mine.free_dead()
    assert library.collections["lineage"].count_documents({"video": sha256, "stage": "length"}) == 4


@dataclass
class Fate:
    """Owners that take, lose and return videos and commit to them, in an order that chance decides."""

    library: Library
    owners: list[Leases]
    chance: random.Random
    #: owner -> what it believes to hold
    held: dict[str, dict[str, Document]] = field(default_factory=lambda: defaultdict(dict))
    under_way: list[tuple[PausedChanges, threading.Thread, PreparedCommit, list[Any]]] = field(default_factory=list)
    prepared: list[tuple[Leases, PreparedCommit]] = field(default_factory=list)
    #: the commits that took effect, in their order
    effective: list[PreparedCommit] = field(default_factory=list)
    refused: int = 0

    def act(self) -> None:
        owner = self.chance.choice(self.owners)
        actions = [self.take, self.take, self.renew, self.expire, self.prepare, self.prepare, self.commit, self.commit,
                   self.begin_commit, self.end_commit, self.give_back]  # fmt: skip
        self.chance.choice(actions)(owner)

    def take(self, owner: Leases) -> None:
        ids = self.chance.sample(IDS, self.chance.randint(1, len(IDS)))
        self.held[owner.owner] |= {row["_id"]: row for row in owner.take(ids, FIELDS)}

    def renew(self, owner: Leases) -> None:
        owner.renew()

    def expire(self, owner: Leases) -> None:
        expire(self.library, self.chance.choice(IDS))

    def prepare(self, owner: Leases) -> None:
        if rows := list(self.held[owner.owner].values()):
            row = self.chance.choice(rows)
            make = self.chance.choice([length_of, parts_of])
            self.prepared.append((owner, make(row, self.chance.randint(1, 4))))

    def commit(self, owner: Leases) -> None:
        if self.prepared:
            author, item = self.prepared.pop(self.chance.randrange(len(self.prepared)))
            (stored,) = self._checked(item, lambda: committer(self.library).write([item], author.owner))
            if stored is not None:
                self.held[author.owner].pop(item.commit.sha256, None)  # read anew before the next commit
                self.give_back_one(author, item.commit.sha256)

    def begin_commit(self, owner: Leases) -> None:
        if self.prepared and len(self.under_way) < 3:
            author, item = self.prepared.pop()
            paused, results = PausedChanges(self.library), []
            one = committer(self.library, paused)
            thread = threading.Thread(target=lambda: results.extend(one.write([item], author.owner)))
            thread.start()
            assert paused.arrived.wait(30)
            self.under_way.append((paused, thread, item, results))

    def end_commit(self, owner: Leases) -> None:
        if self.under_way:
            paused, thread, item, results = self.under_way.pop(self.chance.randrange(len(self.under_way)))

            def finish() -> list[Any]:
                paused.released.set()
                thread.join(60)
                return results

            self._checked(item, finish)

    def _checked(self, item: PreparedCommit, write: Any) -> list[Any]:
        """Commit; it takes effect exactly if it was prepared under the lease in force and nothing was since."""
        lease = (self.library.collections["videos"].find_one({"_id": item.commit.sha256}) or {}).get("lease", {})
        (stored,) = write()
        assert (stored is not None) == (lease.get("token") == item.commit.lease)
        if stored is None:
            self.refused += 1
        else:
            self.effective.append(item)
        return [stored]

    def give_back(self, owner: Leases) -> None:
        if held := self.held[owner.owner]:
            sha256 = self.chance.choice(list(held))
            held.pop(sha256)
            self.give_back_one(owner, sha256)

    def give_back_one(self, owner: Leases, sha256: str) -> None:
        owner.give_back([sha256])


@pytest.mark.parametrize("seed", [3, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(100, 140))])
def test_only_the_holder_commits_whatever_the_order_and_nothing_is_left_over(library: Library, seed: int) -> None:
    with library.leases() as first, library.leases() as second, library.leases() as third:
        fate = Fate(library, [first, second, third], random.Random(seed))
        for _ in range(100):
            fate.act()
        while fate.under_way:
            fate.end_commit(first)
        assert fate.effective
        assert fate.refused
    with library.leases() as mine:
        mine.free_dead()
    assert left_over(library) == {"scenes": 0, "marked": 0}
    tokens = {row["_id"].partition(":")[0] for row in library.collections["lineage"].find({"kind": "commit"})}
    assert tokens == {item.commit.token for item in fate.effective if not item.confirms}
    for sha256 in IDS:
        document = library.collections["videos"].find_one({"_id": sha256}) or {}
        for stage in ("length", "parts"):
            last = [item for item in fate.effective if (item.commit.sha256, item.commit.stage) == (sha256, stage)][-1:]
            assert document["stages"][stage].get("commit") == (last[0].commit.token if last else None)
        count = document.get("parts", {}).get("count", 0)
        assert library.collections["scenes"].count_documents({"video": sha256}) == count
