"""Homes and libraries as older versions left them, from the dumps in `dumps` (made by `dumps/make.py`)."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

from bson import json_util

from vidpipe.library.connection import Connection
from vidpipe.library.schema import COLLECTIONS
from vidpipe.operations.backups import manifest as manifests
from vidpipe.operations.backups.collection_dump import documents, load_collections
from vidpipe.operations.backups.manifest import ProgressMonitor

FOLDER = Path(__file__).with_name("dumps")
#: Media, frame packs, settings and rules of all versions, each under its sha256.
FILES = FOLDER / "files"
#: Of a dump: sha256 of such a file, and its path in the backup.
FILES_LIST = "files.sha256"


def versions() -> list[int]:
    """The schema versions that there are dumps of."""
    return sorted(int(path.name.removeprefix("schema-")) for path in FOLDER.glob("schema-*"))


def backup_of(version: int, target: Path) -> Path:
    """Put the backup of a schema version together in a new folder, as that version wrote it."""
    shutil.copytree(FOLDER / f"schema-{version}", target, ignore=shutil.ignore_patterns("home", FILES_LIST))
    _add_files(version, target, target / "settings")
    return target


def home_of(version: int, home: Path) -> Path:
    """Make a home as that version left it: settings, rules, lists, media, thumbnails and frame packs."""
    dump = FOLDER / f"schema-{version}"
    shutil.copytree(dump / "home", home, dirs_exist_ok=True)
    _add_files(version, home / "data", home)
    _, manifest = manifests.read(dump)
    for video in map(dict, documents(dump / manifest.collections["videos"].file)):
        if (path := home / video["ingest"]["path"]).is_file():  # files with another time are checked by the next run
            os.utime(path, ns=(video["ingest"]["modified_ns"],) * 2)
    return home


def _add_files(version: int, data: Path, settings: Path) -> None:
    for line in (FOLDER / f"schema-{version}" / FILES_LIST).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = settings / name.removeprefix("settings/") if name.startswith("settings/") else data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.decompress((FILES / f"{digest}.gz").read_bytes()))


def load_library(version: int, connection: Connection) -> None:
    """Fill a database with the documents and the indexes of that version."""
    folder, manifest = manifests.read(FOLDER / f"schema-{version}")
    assert manifest.schema_version == version
    names = {name: connection.collection(name).name for name in COLLECTIONS}
    load_collections(connection.database, names, folder, manifest, ProgressMonitor())
    for name, dumped in manifest.collections.items():
        described = folder / dumped.file.replace(".bson.gz", ".metadata.json.gz")
        found = json_util.loads(gzip.decompress(described.read_bytes()))["indexes"]
        if indexes := [index for index in found if index["name"] != "_id_"]:
            connection.database.command("createIndexes", names[name], indexes=indexes)
