"""What tests of back-ups share: making one, restoring it, everything that a library holds."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import bson

from vidpipe.library.backups import manifest as manifests
from vidpipe.library.backups.backup import BackedUp, back_up
from vidpipe.library.backups.manifest import Follower
from vidpipe.library.backups.restore import Restored, check, restore
from vidpipe.library.connection import connect
from vidpipe.library.library import Library
from vidpipe.library.queries.show import views
from vidpipe.settings import Settings
from vidpipe_tests.library.sample_library import GRAPH, plan_of

COLLECTIONS = ("videos", "scenes", "answers", "sources", "lineage", "runs")


def backed_up(library: Library, folder: Path, **wish: Any) -> BackedUp:
    return back_up(library.connection, library.settings, GRAPH, folder, **wish)


def restored(settings: Settings, directory: Path, **wish: Any) -> Restored:
    folder, manifest = manifests.read(directory)
    check(folder, manifest, Follower())
    with connect(settings) as connection:
        return restore(connection, settings, GRAPH, folder, manifest, **wish)


def everything(library: Library) -> dict[str, list[Any]]:
    return {name: list(library.collections[name].find().sort("_id", 1)) for name in COLLECTIONS}


def shown(library: Library) -> list[Any]:
    ids = sorted(row["_id"] for row in library.collections["videos"].find({}, {"_id": 1}))
    return list(views(library, ids, plan_of(library).specs))


def documents(file: Path) -> list[dict[str, Any]]:
    return bson.decode_all(gzip.decompress(file.read_bytes()))
