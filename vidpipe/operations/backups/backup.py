"""Creates backups. See `vidpipe.operations.backups` for their contents."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from bson.raw_bson import RawBSONDocument
from filelock import FileLock, Timeout
from pymongo.collection import Collection

from vidpipe import __version__
from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.library import collection_swap
from vidpipe.library.connection import Connection
from vidpipe.library.gridfs_store import all_stores
from vidpipe.library.media_places import VideoPlaces
from vidpipe.library.retry import retry_operation
from vidpipe.library.schema import COLLECTIONS, Document
from vidpipe.library.schema_setup import PATIENCE_S, holding, pending
from vidpipe.media.facts import PackReference
from vidpipe.media.frame_pack import FramePack
from vidpipe.operations.backups import collection_dump, file_transfer, manifest
from vidpipe.operations.backups.collection_dump import CollectionFile
from vidpipe.operations.backups.file_transfer import COPYING, DERIVED, MEDIA, MEDIA_LIST, TransferCount
from vidpipe.operations.backups.manifest import PART_SUFFIX, BackupError, BackupManifest, FileSummary, ProgressMonitor
from vidpipe.safe_files import private_directory
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph
from vidpipe.storage.media_files import MediaFiles
from vidpipe.storage.object_store import StoreError

_LOCK = ".vidpipe-backup.lock"
#: Before the videos: whatever refers to them. After them: what was made from them. See `collection_dump`. Without
#: tombstones: search indexes are built anew after a restore. Without credentials (see `vidpipe.library.schema`).
_BEFORE_VIDEOS = ("meta", "searches", "sources", "verdicts", "distinct", "datasets", "dataset_items")
_AFTER_VIDEOS = ("answers", "lineage", "runs")


@dataclass
class BackupResult:
    """A backup that was made.

    Attributes:
        removed: Older backups that were removed.
    """

    path: Path
    manifest: BackupManifest
    media: TransferCount
    derived: TransferCount
    removed: list[Path] = field(default_factory=list)


@dataclass
class _Backup:
    """A backup in the making."""

    connection: Connection
    settings: Settings
    graph: StageGraph
    monitor: ProgressMonitor
    folder: Path
    collections: dict[str, manifest.DumpedCollection] = field(default_factory=dict)
    parts: dict[str, manifest.FileDigest] = field(default_factory=dict)
    media: TransferCount = field(default_factory=TransferCount)
    derived: TransferCount = field(default_factory=TransferCount)

    @contextmanager
    def dump_file(self, name: str) -> Iterator[CollectionFile]:
        """Write the file of a collection, and then the one with its metadata."""
        collection = self.connection.collection(name)
        path = self.folder / "dump" / collection.database.name / f"{collection.name}.bson.gz"
        beside = path.with_name(f"{collection.name}.metadata.json.gz")
        place, place_beside = (file.relative_to(self.folder).as_posix() for file in (path, beside))
        with CollectionFile(path) as file:
            yield file
            self.parts[place] = file.finish()
        self.parts[place_beside] = manifest.write_part(beside, collection_dump.metadata(collection))
        self.collections[name] = manifest.DumpedCollection(file=place, documents=file.documents)

    def read(
        self, collection: Collection[Document], query: Document, fields: Document | None, limit: int
    ) -> list[RawBSONDocument]:
        self.monitor.check()
        raw = collection.with_options(codec_options=collection_dump.RAW)
        return retry_operation(self.connection, lambda: list(raw.find(query, fields).sort("_id", 1).limit(limit)))


def back_up(
    connection: Connection,
    settings: Settings,
    graph: StageGraph,
    directory: Path,
    *,
    media: bool = False,
    derived: bool = True,
    keep: int | None = None,
    config: Path | None = None,
    monitor: ProgressMonitor | None = None,
) -> BackupResult:
    """Back the library up into a new folder in `directory`, while others may write to the library.

    If it fails, nothing is left that looks like a backup; the next one reuses media that were copied.

    Args:
        connection: To the library.
        settings: Of the home.
        graph: The stages.
        directory: Of all backups.
        media: Include the videos' files, not only their paths and hashes.
        derived: Include thumbnails and frame packs.
        keep: Number of backups to keep in `directory`; the oldest are removed.
        config: The file that was read instead of the home's config.ini.
        monitor: Receives progress, and can cancel.

    Raises:
        UnavailableError: There is no library, or it or the folder cannot be accessed.
        BackupCancelled: The user canceled.
    """
    directory = directory.expanduser().absolute()
    with _writing_to(directory):
        part = part_folder(directory, media=media, derived=derived)
        work = _Backup(connection, settings, graph, monitor or ProgressMonitor(), part)
        try:
            made = _write(work, media=media, derived=derived, config=config)
        except BaseException:
            _clear(part, keep_files=media and (part / MEDIA).is_dir())
            raise
        before, name = manifest.whole_backups(directory), manifest.folder_name(made.began_at)
        if before and name <= before[-1].name:  # the newest backup must be the last one by name
            latest = datetime.strptime(before[-1].name, manifest.FOLDER_TIME).replace(tzinfo=UTC)
            name = manifest.folder_name(latest + timedelta(seconds=1))
        done = BackupResult(directory / name, made, work.media, work.derived)
        part.rename(done.path)
        for old in manifest.whole_backups(directory)[:-keep] if keep else ():
            # Renamed first, so that an interrupted removal leaves nothing that looks complete.
            removed = old.with_name(f"{old.name}{PART_SUFFIX}")
            old.rename(removed)
            shutil.rmtree(removed)
            done.removed.append(old)
    return done


def _write(work: _Backup, *, media: bool, derived: bool, config: Path | None) -> BackupManifest:
    settings, began_at = work.settings, datetime.now(UTC)
    schema_version = _schema_version(work)
    media_bytes = _dump(work)
    digests, notes = file_transfer.save_home_files(settings, config, work.folder)
    work.parts |= {f"{file_transfer.FOLDER}/{name}": digest for name, digest in digests.items()}
    if media:
        _check_free_space(work, media_bytes)
    if media or derived:
        _save_files(work, media=media, derived=derived)
    build = work.connection.client.server_info()
    made = BackupManifest(
        vidpipe=__version__,
        schema_version=schema_version,
        began_at=began_at,
        made_at=datetime.now(UTC),
        server=f"MongoDB {build.get('version', '')}",
        database=work.connection.database.name,
        collection_name=settings.mongodb.collection_name,
        collections=work.collections,
        parts=work.parts,
        settings=tuple(digests),
        notes=tuple(notes),
        media=work.media.summary(included=media),
        derived=work.derived.summary(included=derived),
        derived_directory=settings.relative(settings.derived_directory),
    )
    (work.folder / manifest.NAME).write_text(made.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return made


def _schema_version(work: _Backup) -> int:
    names = {name: work.connection.collection(name).name for name in COLLECTIONS}
    database = work.connection.database
    found = pending(database, names, work.graph)
    if found.half_done:
        with holding(database[names["meta"]], "finishes a restore", patience_s=PATIENCE_S):
            collection_swap.finish(database, names)
        found = pending(database, names, work.graph)
    if found.version is None:
        raise UnavailableError(
            f"There is no library in the database {database.name} at {work.connection.host}: nothing to back up.",
            "Check [MongoDB] DatabaseName and CollectionName, or add videos with `vidpipe add`.",
        )
    return found.version


def _dump(work: _Backup) -> int:
    """Write every collection and the media list. Returns the size of all media in bytes."""
    videos, scenes = (work.connection.collection(name) for name in ("videos", "scenes"))
    for name in _BEFORE_VIDEOS:
        _dump_collection(work, name)
    total = videos.estimated_document_count()
    key = work.graph.key("raw_video") if "raw_video" in work.graph else ""
    stages = [stage.name for stage in work.graph if stage.result.scene_fields]
    media_bytes = 0
    with (
        work.dump_file("videos") as video_file,
        work.dump_file("scenes") as scene_file,
        manifest.PartFile(work.folder / MEDIA_LIST) as media,
    ):
        for found, their_scenes in collection_dump.videos_with_scenes(videos, scenes, stages, work.read):
            video_file.add(found)
            scene_file.add(their_scenes)
            for video in found:
                file = file_transfer.media_file(video, video.get(key))
                media.write(file.line())
                media_bytes += file.size_bytes
            work.monitor.progress("videos", video_file.documents, total)
        work.parts[MEDIA_LIST] = media.finish()
    for name in _AFTER_VIDEOS:
        _dump_collection(work, name)
    return media_bytes


def _dump_collection(work: _Backup, name: str) -> None:
    collection = work.connection.collection(name)
    total = collection.estimated_document_count()
    with work.dump_file(name) as file:
        for page in collection_dump.pages(collection, work.read):
            file.add([row for row in page if name != "meta" or row["_id"] not in collection_dump.NOT_RESTORED])
            work.monitor.progress(name, file.documents, total)


def _save_files(work: _Backup, *, media: bool, derived: bool) -> None:
    settings, part = work.settings, work.folder
    places = VideoPlaces({"videos": work.connection.collection("videos")}, partial(retry_operation, work.connection))
    files = MediaFiles(settings, places, all_stores(settings, work.connection))
    earlier = next(reversed(manifest.whole_backups(part.parent)), None)

    def save(source: Path, place: str, size_bytes: int | None, *, link: bool) -> str:
        last = earlier / place if earlier else None
        return file_transfer.save_file(source, part / place, size_bytes, work.monitor, link=link, earlier=last)

    for number, file in enumerate(file_transfer.media_list(part), start=1):
        work.monitor.check()
        outcome, packs = "missing", list[FramePack]()
        if media:
            with suppress(StoreError), files.video(file.video, file.path, work.monitor.cancelled) as path:
                # The owner of a referenced file may modify it in place, so it is not linked.
                outcome = save(path, file.place, file.size_bytes, link=not file.referenced)
            work.media.add(outcome, file.path, file.size_bytes)
        for version in places.get(file.video).packs if derived else ():
            folder = settings.relative(settings.derived_directory / file.video / version)
            try:  # held until the next video
                packs.append(files.pack(file.video, PackReference(version=version, path=folder, frames=0, bytes=0)))
            except VidpipeError:
                work.derived.add("missing", f"{file.video}/{version}", 0)
        for source, name in file_transfer.pack_files(settings.derived_directory, file.video) if derived else ():
            place = f"{DERIVED}/{name}"
            outcome = save(source, place, None, link=True)
            work.derived.add(outcome, name, 0 if outcome == "missing" else (part / place).stat().st_size)
        work.monitor.progress("files", number, work.collections["videos"].documents)


def _check_free_space(work: _Backup, media_bytes: int) -> None:
    """Raise UnavailableError if the media do not fit; links need no space."""
    part, media = work.folder, work.settings.media_directory
    if not media_bytes or (media.is_dir() and media.stat().st_dev == part.stat().st_dev):
        return
    copied = sum(path.stat().st_size for path in (part / MEDIA).rglob("*") if path.is_file())
    free = shutil.disk_usage(part).free
    if free < media_bytes - copied:
        raise UnavailableError(
            f"The media need {media_bytes / 1e9:.1f} GB, but the disk of {part.parent} has {free / 1e9:.1f} GB free.",
            "Free space there, choose another folder, or omit --media.",
        )


@contextmanager
def _writing_to(directory: Path) -> Iterator[None]:
    """Lock the directory, and explain errors of its disk."""
    try:
        private_directory(directory)
        with FileLock(directory / _LOCK, blocking=False):
            yield
    except Timeout:
        raise BackupError(f"Another vidpipe is backing up into {directory}.", "Wait until it has finished.") from None
    except OSError as error:
        raise UnavailableError(
            f"The backup cannot be written: {error.filename or directory}: {error.strerror or error}.",
            "Free space there, or choose another folder.",
        ) from error


def part_folder(directory: Path, *, media: bool, derived: bool) -> Path:
    """Return a folder for writing a backup: the last interrupted one, with its copied files, or a new one.

    Args:
        directory: Of all backups.
        media: Keep copied media.
        derived: Keep copied thumbnails and frame packs.
    """
    left = sorted(directory.glob(f"*{PART_SUFFIX}"))
    part = directory / f"{manifest.folder_name(datetime.now(UTC))}{PART_SUFFIX}"
    for old in left[:-1]:
        shutil.rmtree(old)
    if left and left[-1] != part:
        left[-1].rename(part)
    private_directory(part)
    part.chmod(0o700)  # an older version may have created it
    _clear(part, keep_files=True, media=media, derived=derived)
    return part


def _clear(part: Path, *, keep_files: bool, media: bool = True, derived: bool = True) -> None:
    """Remove an incomplete backup, except for the copied files that are kept."""
    if not keep_files:
        shutil.rmtree(part, ignore_errors=True)
        return
    kept = {name for name, wanted in ((MEDIA, media), (DERIVED, derived)) if wanted}
    for path in part.iterdir():
        if path.name in kept:
            for copy in path.rglob(f"*{COPYING}"):
                copy.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def backup_json(done: BackupResult) -> Document:
    """Return a backup as it appears in `--json` and the audit log."""
    made = done.manifest
    return {
        "path": done.path,
        "schema_version": made.schema_version,
        "documents": {name: collection.documents for name, collection in made.collections.items()},
        "size_bytes": sum(part.size_bytes for part in made.parts.values()),
        "settings": list(made.settings),
        "media": _files_json(made.media, done.media),
        "derived": _files_json(made.derived, done.derived),
        "notes": list(made.notes),
        "removed": done.removed,
    }


def _files_json(summary: FileSummary, count: TransferCount) -> Document:
    counts = {name: number for name, number in asdict(count).items() if name in ("linked", "copied", "present")}
    return {**summary.model_dump(), **counts, "missing_names": count.names}
