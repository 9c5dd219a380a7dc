"""Making a library of a back-up again: checked first, loaded beside what is there, and put in its place at the end."""

from __future__ import annotations

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
from vidpipe.library.backups.carrying import Count, MediaFile, carry_out, media_list, put_packs
from vidpipe.library.backups.load import drop_unfinished, load
from vidpipe.library.backups.manifest import BackupError, Follower, Manifest, verify
from vidpipe.library.connection import Connection
from vidpipe.library.process_identity import is_dead
from vidpipe.library.schema import COLLECTIONS, SCHEMA_VERSION, Document
from vidpipe.library.schema_setup import MigrationStep, holding, make_indexes, update_schema
from vidpipe.library.video_ids import VideoIds
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

_PATIENCE_S = 5.0
_PATHS_AT_ONCE = 500


class NotEmptyError(VidpipeError):
    """There is a library where one is to be restored."""

    exit_code = 2


@dataclass
class Restored:
    """What a restore did, or would do.

    replaced: collection -> documents that were there
    steps:    migrations of an older schema
    media:    missing: files that are neither in the back-up nor in the home
    """

    folder: Path
    manifest: Manifest
    replaced: dict[str, int] = field(default_factory=dict)
    steps: list[MigrationStep] = field(default_factory=list)
    videos: VideoIds = field(default_factory=VideoIds)
    media: Count = field(default_factory=Count)
    derived: Count = field(default_factory=Count)


def check(folder: Path, manifest: Manifest, follower: Follower) -> None:
    """Raises BackupError for a back-up of a newer schema, or one whose parts are not as they were written."""
    if manifest.schema_version > SCHEMA_VERSION:
        raise BackupError(
            f"{folder} has schema version {manifest.schema_version}; this vidpipe ({manifest.vidpipe} wrote it) knows "
            f"versions up to {SCHEMA_VERSION}.",
            "Install the vidpipe that wrote it, or a newer one.",
        )
    lacking = {"meta", "videos", "scenes", "sources"} - manifest.collections.keys()
    if lacking:
        raise BackupError(f"{folder} holds no {', '.join(sorted(lacking))}.", "Name another back-up.")
    verify(folder, manifest, follower)


def what_is_there(connection: Connection) -> dict[str, int]:
    """collection -> its documents, where there are any: what a restore would replace."""
    # Counted, not estimated: the estimate may be 0 after a killed server, and a full library would pass for empty.
    counts = {name: connection.collection(name).count_documents({}) for name in COLLECTIONS if name != "meta"}
    return {name: count for name, count in counts.items() if count}


def is_empty(there: Mapping[str, int]) -> bool:
    return not there.get("videos") and not there.get("sources")


def restore(
    connection: Connection,
    settings: Settings,
    graph: StageGraph,
    folder: Path,
    manifest: Manifest,
    *,
    replace: bool = False,
    follower: Follower | None = None,
) -> Restored:
    """Loads a back-up that `check` found whole into the library that `settings` name, whatever it was called before.

    replace: a library that is there gives way to it; it does so at the very end, and whole
    Raises NotEmptyError without `replace`, UnavailableError while a run works on the library, Stopped.
    """
    follower = follower or Follower()
    database = connection.database
    names = {name: connection.collection(name).name for name in COLLECTIONS}
    with connection.errors_explained(), holding(database[names["meta"]], "restores a back-up", patience_s=_PATIENCE_S):
        collection_swap.finish(database, names)  # what an earlier one began is whole, and may be replaced again
        done = Restored(folder, manifest, replaced=what_is_there(connection))
        if not is_empty(done.replaced) and not replace:
            raise not_empty(connection, done.replaced)
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
            done.videos = load(database, loading, folder, manifest, follower)
            _put_files(database[loading["videos"]], settings, graph, done, follower)
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
    # What a sensor remembers of the watched lists is of another library.
    shutil.rmtree(settings.data_directory / "run" / "lists", ignore_errors=True)
    return done


def _finish(
    database: Database[Document], names: Mapping[str, str], graph: StageGraph, manifest: Manifest
) -> list[MigrationStep]:
    make_indexes(database, names, graph)
    steps = update_schema(database, names, graph, long=True).steps
    drop_unfinished(database, names, manifest)
    return steps


def _renaming(connection: Connection) -> bool:
    """Whether the restore is past the point from which it is only finished. True where nobody can say."""
    try:
        return connection.collection("meta").find_one({"_id": collection_swap.MARKER}) is not None
    except PyMongoError:
        return True


def not_empty(connection: Connection, there: Mapping[str, int]) -> NotEmptyError:
    found = ", ".join(f"{count} {name}" for name, count in there.items())
    return NotEmptyError(
        f"There is a library already in {connection.collection('videos').full_name} at {connection.host}: {found}.",
        "`--replace` puts the back-up in its place; [MongoDB] DatabaseName or CollectionName names another.",
    )


def _refuse_while_running(connection: Connection) -> None:
    alive = {"lease.until": {"$exists": True}, "$expr": {"$gt": ["$lease.until", "$$NOW"]}}
    for row in connection.collection("videos").find(alive, {"lease.owner": 1}):
        owner: str = row["lease"]["owner"]
        if not is_dead(owner.rpartition("|")[0]):
            machine, pid = owner.split("|")[:2]
            raise UnavailableError(
                f"A run is at work on the library: process {pid} on {machine.split('/')[0]}.",
                "Wait until it has ended, or stop it (Ctrl-C, `vidpipe down`).",
            )


def _put_files(
    videos: Collection[Document], settings: Settings, graph: StageGraph, done: Restored, follower: Follower
) -> None:
    """The files of the back-up into the home, where they are not there; how the documents name them stays true."""
    derived = _derived_directory(settings, done.manifest)
    moved: list[UpdateOne] = []
    for number, file in enumerate(media_list(done.folder), start=1):
        follower.check()
        place = place_of(settings, file)
        if _is_there(place, file):
            done.media.present += 1
        else:
            how = carry_out(done.folder / file.place, place, file.video, file.modified_ns, follower)
            if how == "copied":
                done.media.copied += 1
                done.media.size_bytes += file.size_bytes
            else:
                done.media.lacks(file.path, damaged=how == "damaged")
        if settings.relative(place) != file.path and place.exists():
            moved += _moved(file, settings.relative(place), graph)
        if derived is not None:
            put_packs(done.folder, derived, file.video, done.derived, follower)
        if len(moved) >= _PATHS_AT_ONCE:
            videos.bulk_write(moved)
            moved = []
        follower.progress("files", number, done.manifest.videos)
    if moved:
        videos.bulk_write(moved)


def place_of(settings: Settings, file: MediaFile) -> Path:
    """Where a video's file belongs in this home: where its document says, if that is in the media store or it lies
    there; else in the store, under its hash."""
    there = settings.resolve(file.path)
    in_store = there.is_relative_to(settings.media_directory) and ".." not in there.parts
    if in_store or _is_there(there, file):
        return there
    return settings.media_directory / file.video[:2] / f"{file.video}{there.suffix[:20]}"


def _is_there(path: Path, file: MediaFile) -> bool:
    try:
        return path.stat().st_size == file.size_bytes
    except OSError:
        return False


def _moved(file: MediaFile, path: str, graph: StageGraph) -> list[UpdateOne]:
    changes = [UpdateOne({"_id": file.video}, {"$set": {"ingest.path": path, "ingest.referenced": False}})]
    if "raw_video" in graph:
        key = f"{graph.key('raw_video')}.path"
        changes.append(UpdateOne({"_id": file.video, key: {"$exists": True}}, {"$set": {key: path}}))
    return changes


def _derived_directory(settings: Settings, manifest: Manifest) -> Path | None:
    """Where frame packs have to lie for the documents to find them; None where this home keeps them elsewhere."""
    same = settings.relative(settings.derived_directory) == manifest.derived_directory
    return settings.derived_directory if same and manifest.derived.included else None


def plain(done: Restored) -> Document:
    """A restore for `--json` and the audit log."""
    manifest = done.manifest

    def counted(count: Count) -> Document:
        return {
            "copied": count.copied, "present": count.present, "missing": count.missing, "damaged": count.damaged,
            "names": count.some,
        }  # fmt: skip

    return {
        "from": done.folder,
        "made_at": manifest.made_at,
        "schema_version": manifest.schema_version,
        "documents": {name: collection.documents for name, collection in manifest.collections.items()},
        "replaced": done.replaced,
        "migrations": [step.what for step in done.steps],
        "media": counted(done.media),
        "derived": counted(done.derived),
    }
