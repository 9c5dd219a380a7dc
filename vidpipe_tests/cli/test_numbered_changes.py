"""Every command that changes what search shows numbers the change: seen in what it sends to MongoDB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, monitoring

from vidpipe.search.fields import Fields
from vidpipe.settings.analyses import ANALYSES
from vidpipe.stages.contract import INGEST
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.default_graph import GRAPH

#: Keys of a video's document that search reads.
SEARCHED = {"scene_generation", "added_at", *ANALYSES} | {
    GRAPH.key(stage) for stage in (INGEST, *GRAPH.names) if GRAPH.result_model(stage).search_fields
}
#: Of `ingest`, search reads no paths; `vidpipe restore` changes them.
NOT_SEARCHED = {"ingest.path", "ingest.referenced"}


def keys_set(change: Any) -> set[str]:
    """The keys that an update sets or removes, also one that is a pipeline; or those of a whole document."""
    if isinstance(change, list):
        return set().union(*map(keys_set, change))
    if not any(name.startswith("$") for name in change):
        return set(change)
    return {key for operator in change.values() for key in (operator if isinstance(operator, Mapping) else [operator])}


class Watch(monitoring.CommandListener):
    """Collects the changes of videos that had no number.

    Attributes:
        on: Whether it does so now.
        numbered: Keys that were set together with a number.
        faults: What was not as it should be.
    """

    def __init__(self) -> None:
        self.on = False
        self.numbered: set[str] = set()
        self.buried: set[str] = set()
        self.deleted: set[str] = set()
        self.faults: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        name = event.command_name
        if self.on and event.command.get(name) in ("videos", "videos_tombstones"):
            for change in self._changes(name, event.command):
                self._see(str(event.command[name]), change)
            if event.command[name] == "videos":
                for delete in event.command.get("deletes", ()) if name == "delete" else ():
                    self._see_deleted(delete["q"])

    def _changes(self, name: str, command: Mapping[str, Any]) -> Iterable[tuple[Any, Any]]:
        if name == "update":
            return [(one["q"], one["u"]) for one in command["updates"]]
        if name == "insert":
            return [(None, one) for one in command["documents"]]
        if name == "findAndModify" and not command.get("remove"):
            return [(command["query"], command["update"])]
        return ()

    def _see(self, collection: str, change: tuple[Any, Any]) -> None:
        query, update = change
        if collection != "videos":
            self.buried.add(query["_id"])
            return
        keys = keys_set(update)
        searched = {key for key in keys - NOT_SEARCHED if key.split(".")[0] in SEARCHED}
        if "change_seq" in keys:
            self.numbered |= searched
        elif searched:
            self.faults.append(f"{sorted(searched)} without a number")

    def _see_deleted(self, query: Mapping[str, Any]) -> None:
        self.deleted.add(str(query.get("_id")))
        if query.get("_id") not in self.buried:
            self.faults.append(f"{query} was deleted without a tombstone")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


WATCH = Watch()
monitoring.register(WATCH)  # cannot be undone


@pytest.fixture
def watch() -> Iterator[Watch]:
    WATCH.__init__()  # type: ignore[misc]
    WATCH.on = True
    yield WATCH
    WATCH.on = False


def test_the_keys_that_search_reads_are_known() -> None:
    assert {INGEST, "metadata", "scenes", "description", "sentiment", "tags", "category"} <= SEARCHED
    assert {declared.key for declared in Fields(GRAPH)._declared} - {""} <= SEARCHED


def test_commands_number_whatever_search_shows(vidpipe: Command, tmp_path: Path, watch: Watch) -> None:
    for number in range(3):
        clips.color_cuts(tmp_path / f"{number}.mp4", ("red", "green", "blue")[: number + 1], size="32x32")
    for commands in (
        ("add", tmp_path / "0.mp4", "--label", "one", "--run"),
        ("add", tmp_path / "0.mp4", "--label", "two"),
        ("add", tmp_path, "--label", "three"),
        ("run",),
        ("run", "0.mp4", "--force", "--stage", "tags"),
        ("check", "--all"),
        ("backup", tmp_path / "backup"),
        ("forget", "1.mp4", "--yes"),
        ("prune",),
        ("restore", tmp_path / "backup", "--replace", "--yes"),
        ("migrate",),
        ("doctor",),
        ("search", "red"),
    ):
        result = vidpipe(*commands)
        assert result.exit_code in (0, 1, 3), f"{commands}: {result.output}"
        assert not watch.faults, commands
    assert len(watch.deleted) == 1
    assert {"ingest", "metadata", "scenes", "scene_generation", "description", "tags", "category"} <= watch.numbered
    with MongoClient[dict[str, Any]](vidpipe.env["VIDPIPE_MONGODB_URI"]) as client:
        videos = client[vidpipe.env["VIDPIPE_MONGODB_DATABASENAME"]]["videos"]
        videos.update_many({}, {"$set": {"ingest.labels": ["forgot"]}})
        videos.update_one({}, [{"$set": {"tags": []}}])
        videos.insert_one({"_id": "new", "ingest": {}})
        videos.delete_many({"_id": "new"})
    assert len(watch.faults) == 4
