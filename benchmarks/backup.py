"""Back-up and restore of a large library, against a plain scan of the same collections into gzip files.

python -m benchmarks.backup [videos]
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import psutil

from benchmarks.synthetic_library import fill, make_prototypes
from vidpipe.library import embedded
from vidpipe.library.connection import connect
from vidpipe.library.library import Library
from vidpipe.operations.backups import manifest as manifests
from vidpipe.operations.backups.backup import back_up
from vidpipe.operations.backups.manifest import ProgressMonitor
from vidpipe.operations.backups.restore import check_backup, restore
from vidpipe.settings import Settings, init_home
from vidpipe_tests.default_graph import GRAPH

_PROTOTYPES = 10
_LINEAGE = 10


def copies_have_scenes_and_lineage(library: Library) -> None:
    """As many as their prototypes, whose generations they name."""
    scenes, lineage = library.collections["scenes"], library.collections["lineage"]
    by_generation: dict[str, list[dict[str, Any]]] = {}
    for row in scenes.find():
        by_generation.setdefault(row["generation"], []).append(row)
    known = set(scenes.distinct("video"))
    commits = list(lineage.find({"kind": "commit"}).limit(_LINEAGE))
    more_scenes: list[dict[str, Any]] = []
    more_lineage: list[dict[str, Any]] = []
    for video in library.collections["videos"].find({}, {"scene_generation": 1}):
        if video["_id"] in known:
            continue
        for row in by_generation[video["scene_generation"]]:
            identity = f"{video['_id']}:{row['generation']}:{row['index']:05d}"
            more_scenes.append({**row, "_id": identity, "video": video["_id"]})
        for number, commit in enumerate(commits):
            more_lineage.append({**deepcopy(commit), "_id": f"{video['_id'][:16]}:{number}", "video": video["_id"]})
        if len(more_lineage) >= 10_000:
            lineage.insert_many(more_lineage, ordered=False)
            scenes.insert_many(more_scenes, ordered=False)
            more_scenes, more_lineage = [], []
    if more_scenes:
        scenes.insert_many(more_scenes, ordered=False)
        lineage.insert_many(more_lineage, ordered=False)


def scan(library: Library, file: Path) -> float:
    """Seconds to read every document in one go and write it to a gzip file."""
    began = time.perf_counter()
    with gzip.open(file, "wb", compresslevel=3) as packed:
        for collection in library.collections.values():
            for batch in collection.find_raw_batches():
                packed.write(batch)
    return time.perf_counter() - began


def main() -> None:
    videos = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    folder = Path(tempfile.mkdtemp(prefix="vidpipe-backup-"))
    homes = [init_home(folder / name).home for name in ("home", "other")]
    settings, other = (Settings(home=home) for home in homes)
    process = psutil.Process()
    try:
        with Library.open(settings, GRAPH) as library:
            fill(library, settings, make_prototypes(folder / "clips", _PROTOTYPES), videos)
            copies_have_scenes_and_lineage(library)
            plain_s = scan(library, folder / "scan.gz")
            before = process.memory_info().rss
            began = time.perf_counter()
            done = back_up(library.connection, settings, GRAPH, folder / "backups")
            backup_s = time.perf_counter() - began
            grown = process.memory_info().rss - before
        size = sum(part.size_bytes for part in done.manifest.parts.values())
        documents = sum(collection.documents for collection in done.manifest.collections.values())
        print(f"{videos} videos, {documents} documents: {size / 1e6:.0f} MB, grown by {grown / 1e6:.0f} MB of memory")
        print(f"back-up {backup_s:.1f} s; a plain scan into gzip {plain_s:.1f} s: {backup_s / plain_s:.2f} times")
        began = time.perf_counter()
        path, manifest = manifests.read(folder / "backups")
        check_backup(path, manifest, ProgressMonitor())
        checked_s = time.perf_counter() - began
        with connect(other) as connection:
            restore(connection, other, GRAPH, path, manifest)
        restore_s = time.perf_counter() - began
        print(f"restore {restore_s:.1f} s, of which {checked_s:.1f} s to check it: {restore_s / plain_s:.2f} times")
        print(f"peak of memory {process.memory_info().rss / 1e6:.0f} MB")
    finally:
        for one in (settings, other):
            embedded.stop(one)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
