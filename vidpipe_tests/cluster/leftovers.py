"""What must not be left when all work is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from vidpipe.library import server_clock
from vidpipe.library.connection import Connection
from vidpipe_tests.cluster.machines import Machines


def assert_nothing_left(machines: Machines) -> None:
    """No lease, owner, orphan, upload, file in the making, run, or slot of a pool."""
    with machines.observer.database() as database:
        _let_late_commits_arrive(machines, database)
        videos = {row["_id"]: row for row in database.collection("videos").find()}
        assert not [one for one, row in videos.items() if "lease" in row or "late_commit" in row]
        generations = {(one, row.get("scene_generation")) for one, row in videos.items()}
        scenes = list(database.collection("scenes").find({}, {"video": 1, "generation": 1}))
        assert not [row for row in scenes if (row["video"], row["generation"]) not in generations]
        entries = [entry for row in videos.values() for entry in row["stages"].values()]
        tokens = {entry["commit"] for entry in entries if "commit" in entry}
        lineage = database.collection("lineage").find({"kind": "commit", "status": "ok"})
        orphans = [row for row in lineage if row["_id"].partition(":")[0] not in tokens]
        beside = [(row, videos.get(row["video"], {}).get("stages", {}).get(row["stage"])) for row in orphans]
        assert not beside, f"lineage, and the entry of the stage: {beside}"
        owners = [row["_id"] for row in database.collection("owners").find()]
        assert not owners, owners
        named = {str(value) for row in videos.values() for value in _texts(row)}
    assert not machines.uploads()
    unnamed = [
        key for key in machines.objects() if not any(part in named for part in (key, Path(key).name, Path(key).stem))
    ]
    assert not unnamed, unnamed
    assert not machines.unfinished()
    assert machines.taken_slots() == 0
    for host in machines.hosts:
        data = host.home / "vidpipe/data"
        assert not list((data / "run").glob("*.journal")), host.name
        assert not list((data / "media/incoming").glob("*.part")), host.name
        assert not [path for path in (data / "derived").glob("*/*") if path.name.startswith(".")], host.name


def _let_late_commits_arrive(machines: Machines, database: Connection) -> None:
    """What they left is removed some minutes after their refusal; here, at once."""
    query = {"late_commit": {"$exists": True}}
    an_hour_ago = {"$set": {"late_commit.at": server_clock.now() - timedelta(hours=1)}}
    database.collection("videos").update_many(query, an_hour_ago)
    deadline = time.monotonic() + 120
    while database.collection("videos").count_documents(query) and time.monotonic() < deadline:
        time.sleep(1)  # the sensor `health` of the first host removes them
    assert not database.collection("videos").count_documents(query)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, str):
        yield value
