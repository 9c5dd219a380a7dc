"""What tests of back-ups share: making one, restoring it, everything that a library holds."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import bson

from vidpipe.library.connection import connect
from vidpipe.library.library import Library
from vidpipe.library.queries.show import views
from vidpipe.operations.backups import manifest as manifests
from vidpipe.operations.backups.backup import BackupResult, back_up
from vidpipe.operations.backups.manifest import ProgressMonitor
from vidpipe.operations.backups.restore import RestoreResult, check_backup, restore
from vidpipe.settings import Settings
from vidpipe_tests.library.sample_library import GRAPH, plan_of

COLLECTIONS = ("videos", "scenes", "answers", "sources", "lineage", "runs", "searches", "verdicts",
               "datasets", "dataset_items", "distinct")  # fmt: skip


def backed_up(library: Library, folder: Path, **wish: Any) -> BackupResult:
    return back_up(library.connection, library.settings, GRAPH, folder, **wish)


def restored(settings: Settings, directory: Path, **wish: Any) -> RestoreResult:
    folder, manifest = manifests.read(directory)
    check_backup(folder, manifest, ProgressMonitor())
    with connect(settings) as connection:
        return restore(connection, settings, GRAPH, folder, manifest, **wish)


def everything(library: Library) -> dict[str, list[Any]]:
    return {name: list(library.collections[name].find().sort("_id", 1)) for name in COLLECTIONS}


def shown(library: Library) -> list[Any]:
    ids = sorted(row["_id"] for row in library.collections["videos"].find({}, {"_id": 1}))
    return list(views(library, ids, plan_of(library).specs))


def documents(file: Path) -> list[dict[str, Any]]:
    return bson.decode_all(gzip.decompress(file.read_bytes()))
