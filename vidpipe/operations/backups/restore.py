"""Restores backups: checked first, loaded beside the existing library, which they replace at the very end."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import PyMongoError

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.library import collection_swap
from vidpipe.library.changes import Changes
from vidpipe.library.connection import Connection
from vidpipe.library.process_names import is_dead
from vidpipe.library.schema import COLLECTIONS, OF_THIS_SERVER, SCHEMA_VERSION, Document
from vidpipe.library.schema_setup import MigrationStep, holding, make_indexes, update_schema
from vidpipe.library.verdicts import Verdicts
from vidpipe.library.videos import VideoIds, Videos
from vidpipe.operations.backups import file_transfer
from vidpipe.operations.backups.collection_dump import drop_late_lineage, load_collections
from vidpipe.operations.backups.file_transfer import BackedUpFile, TransferCount
from vidpipe.operations.backups.manifest import BackupError, BackupManifest, ProgressMonitor, verify
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

_LOCK_WAIT_S = 5.0
_PATHS_AT_ONCE = 500


class NotEmptyError(VidpipeError):
    """A library exists where one is to be restored."""

    exit_code = 2


@dataclass
class RestoreResult:
    """What a restore did, or would do.

    Attributes:
        replaced: Collection -> number of documents that it replaced.
        steps: Migrations from an older schema.
        media: Files that are neither in the backup nor in the home are `missing`.
    """

    folder: Path
    manifest: BackupManifest
    replaced: dict[str, int] = field(default_factory=dict)
    steps: list[MigrationStep] = field(default_factory=list)
    videos: VideoIds = field(default_factory=VideoIds)
    media: TransferCount = field(default_factory=TransferCount)
    derived: TransferCount = field(default_factory=TransferCount)


def check_backup(folder: Path, manifest: BackupManifest, monitor: ProgressMonitor) -> None:
    """Check that a backup can be restored.

    Raises:
        BackupError: It is damaged, or has a newer schema.
        BackupCancelled: The user canceled.
    """
    if manifest.schema_version > SCHEMA_VERSION:
        raise BackupError(
            f"{folder} has schema version {manifest.schema_version}, written by vidpipe {manifest.vidpipe}; this "
            f"vidpipe supports versions up to {SCHEMA_VERSION}.",
            "Install the vidpipe that wrote it, or a newer one.",
        )
    lacking = {"meta", "videos", "scenes", "sources"} - manifest.collections.keys()
    if lacking:
        raise BackupError(f"{folder} lacks {', '.join(sorted(lacking))}.", "Choose another backup.")
    verify(folder, manifest, monitor)


def count_documents(connection: Connection) -> dict[str, int]:
    """Return the number of documents in each collection that is not empty: what a restore would replace."""
    # Counted, since the estimate may be 0 after the server was killed, and a full library would appear empty.
    replaced = [name for name in COLLECTIONS if name not in ("meta", *OF_THIS_SERVER)]
    counts = {name: connection.collection(name).count_documents({}) for name in replaced}
    return {name: count for name, count in counts.items() if count}


def is_empty(counts: Mapping[str, int]) -> bool:
    """Whether a library with these numbers of documents has neither videos nor sources."""
    return not counts.get("videos") and not counts.get("sources")


def restore(
    connection: Connection,
    settings: Settings,
    graph: StageGraph,
    folder: Path,
    manifest: BackupManifest,
    *,
    replace: bool = False,
    monitor: ProgressMonitor | None = None,
) -> RestoreResult:
    """Load a backup, checked by `check_backup`, into the library that `settings` name, whatever its former name.

    Args:
        connection: To the library.
        settings: Of the home.
        graph: The stages.
        folder: The backup.
        manifest: Its manifest.
        replace: Replace an existing library, at the very end and as a whole.
        monitor: Receives progress, and can cancel.

    Raises:
        NotEmptyError: A library exists, and `replace` is false.
        UnavailableError: A run is working on the library.
        BackupCancelled: The user canceled.
    """
    monitor = monitor or ProgressMonitor()
    database = connection.database
    names = {name: connection.collection(name).name for name in COLLECTIONS}
    with connection.errors_explained(), holding(database[names["meta"]], "restores a backup", patience_s=_LOCK_WAIT_S):
        collection_swap.finish(database, names)  # an interrupted restore that was about to replace the library
        done = RestoreResult(folder, manifest, replaced=count_documents(connection))
        if not is_empty(done.replaced) and not replace:
            raise not_empty_error(connection, done.replaced)
        _refuse_while_running(connection)
        collection_swap.drop_left_over(database, names)
        beside = collection_swap.can_rename(database, names)
        loading = collection_swap.loading_names(names) if beside else names
        if not beside:
            collection_swap.begin_in_place(database, names)
        try:
            for name in loading.values():
                if name not in names.values():
                    database.create_collection(name)
            done.videos = load_collections(database, loading, folder, manifest, monitor)
            _put_files(database[loading["videos"]], settings, graph, done, monitor)
            if beside:
                done.steps = _finish(database, loading, graph, manifest)
                _refuse_while_running(connection)
                collection_swap.replace(database, names, loading)
        except BaseException:
            if beside and not _renaming(connection):
                with suppress(PyMongoError):
                    collection_swap.drop_left_over(database, names)
            raise
        if not beside:
            collection_swap.end_in_place(database, names)
    if not beside:
        done.steps = _finish(database, names, graph, manifest)
    # The sensors' caches of the watched lists belong to the replaced library.
    shutil.rmtree(settings.data_directory / "run" / "lists", ignore_errors=True)
    return done


def _finish(
    database: Database[Document], names: Mapping[str, str], graph: StageGraph, manifest: BackupManifest
) -> list[MigrationStep]:
    make_indexes(database, names, graph)
    steps = update_schema(database, names, graph, long=True).steps
    drop_late_lineage(database, names, manifest)
    collections = {name: database[stored] for name, stored in names.items()}
    # some are younger than their video
    Verdicts(collections, Videos(collections, graph, Changes(collections))).repair()
    return steps


def _renaming(connection: Connection) -> bool:
    """Whether the restore has begun to replace the library, and can only be finished. True if that is unknown."""
    try:
        return connection.collection("meta").find_one({"_id": collection_swap.MARKER}) is not None
    except PyMongoError:
        return True


def not_empty_error(connection: Connection, counts: Mapping[str, int]) -> NotEmptyError:
    """Return the error for a library that exists.

    Args:
        connection: To the library.
        counts: Collection -> number of documents.
    """
    found = ", ".join(f"{count} {name}" for name, count in counts.items())
    return NotEmptyError(
        f"A library already exists in {connection.collection('videos').full_name} at {connection.host}: {found}.",
        "Replace it with `--replace`, or choose another one in [MongoDB] DatabaseName or CollectionName.",
    )


def _refuse_while_running(connection: Connection) -> None:
    alive = {"lease.until": {"$exists": True}, "$expr": {"$gt": ["$lease.until", "$$NOW"]}}
    for row in connection.collection("videos").find(alive, {"lease.owner": 1}):
        owner: str = row["lease"]["owner"]
        if not is_dead(owner.rpartition("|")[0]):
            machine, pid = owner.split("|")[:2]
            raise UnavailableError(
                f"A run is working on the library: process {pid} on {machine.split('/')[0]}.",
                "Wait until it has finished, or stop it (Ctrl-C, `vidpipe down`).",
            )


def _put_files(
    videos: Collection[Document], settings: Settings, graph: StageGraph, done: RestoreResult, monitor: ProgressMonitor
) -> None:
    """Restore missing files, and update the paths in the documents."""
    derived = settings.derived_directory
    # Not restored if this home stores frame packs elsewhere than the documents say.
    packs_too = done.manifest.derived.included and settings.relative(derived) == done.manifest.derived_directory
    key = f"{graph.key('raw_video')}.path" if "raw_video" in graph else ""
    moved: list[UpdateOne] = []
    for number, file in enumerate(file_transfer.media_list(done.folder), start=1):
        monitor.check()
        place = _place_of(settings, file)
        if _is_there(place, file):
            done.media.present += 1
        else:
            outcome = file_transfer.copy_file(done.folder / file.place, place, monitor, file.video, file.modified_ns)
            done.media.add(outcome, file.path, file.size_bytes)
        path = settings.relative(place)
        if path != file.path and place.exists():
            changes = {"ingest.path": path, "ingest.referenced": False}
            moved.append(UpdateOne({"_id": file.video}, {"$set": changes}))
            if key:
                moved.append(UpdateOne({"_id": file.video, key: {"$exists": True}}, {"$set": {key: path}}))
        if packs_too:
            file_transfer.restore_packs(done.folder, derived, file.video, done.derived, monitor)
        if len(moved) >= _PATHS_AT_ONCE:
            videos.bulk_write(moved)
            moved = []
        monitor.progress("files", number, done.manifest.videos)
    if moved:
        videos.bulk_write(moved)


def _place_of(settings: Settings, file: BackedUpFile) -> Path:
    """The path in its document, if that is in the media store or the file exists; else in the store, by its hash."""
    there = settings.resolve(file.path)
    in_store = there.is_relative_to(settings.media_directory) and ".." not in there.parts
    if in_store or _is_there(there, file):
        return there
    return settings.media_directory / file.video[:2] / f"{file.video}{there.suffix[:20]}"


def _is_there(path: Path, file: BackedUpFile) -> bool:
    try:
        return path.stat().st_size == file.size_bytes
    except OSError:
        return False


def restore_json(done: RestoreResult) -> Document:
    """Return a restore as it appears in `--json` and the audit log."""
    manifest = done.manifest
    counters = ("copied", "present", "missing", "damaged", "names")
    counts = {"media": done.media, "derived": done.derived}
    return {
        "from": done.folder,
        "made_at": manifest.made_at,
        "schema_version": manifest.schema_version,
        "documents": {name: collection.documents for name, collection in manifest.collections.items()},
        "replaced": done.replaced,
        "migrations": [step.what for step in done.steps],
        **{part: {name: getattr(count, name) for name in counters} for part, count in counts.items()},
    }
