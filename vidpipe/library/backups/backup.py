"""Making a back-up. See `vidpipe.library.backups` for what it looks like."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson.raw_bson import RawBSONDocument

from vidpipe import __version__
from vidpipe.errors import UnavailableError
from vidpipe.library import collection_swap
from vidpipe.library.backups import home_files
from vidpipe.library.backups.carrying import (
    DERIVED,
    MEDIA,
    MEDIA_LIST,
    Count,
    MediaListWriter,
    carry_in,
    media_file,
    media_list,
    pack_files,
)
from vidpipe.library.backups.dump import CollectionWriter, metadata, pages, videos_with_scenes, writer
from vidpipe.library.backups.folders import alone, clear, explained, part_folder, place_for, remove
from vidpipe.library.backups.manifest import (
    Carried,
    DumpedCollection,
    Follower,
    Manifest,
    Part,
    whole_backups,
)
from vidpipe.library.connection import Connection
from vidpipe.library.retry import retry_operation
from vidpipe.library.schema import COLLECTIONS, Document
from vidpipe.library.schema_setup import PATIENCE_S, holding, pending
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

#: Before the videos: whatever says that a video is there. After them: what was made from them. See `dump`.
_BEFORE, _AFTER = ("meta", "sources"), ("answers", "lineage", "runs")


@dataclass
class BackedUp:
    """A back-up that was made. removed: older ones that gave way to it."""

    path: Path
    manifest: Manifest
    media: Count
    derived: Count
    removed: list[Path] = field(default_factory=list)


@dataclass
class _Work:
    connection: Connection
    settings: Settings
    graph: StageGraph
    follower: Follower

    def retry(self, read: Callable[[], list[RawBSONDocument]]) -> list[RawBSONDocument]:
        self.follower.check()
        return retry_operation(self.connection, read)


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
    follower: Follower | None = None,
) -> BackedUp:
    """Backs the library up into a new folder in `directory`; others may go on writing to the library.

    media:   the videos' files as well, not only their names and hashes
    derived: thumbnails and frame packs as well
    keep:    so many back-ups stay in `directory`; the oldest are removed
    config:  the file that was read instead of the home's config.ini
    Raises Stopped, UnavailableError when there is no library or it or the folder is out of
    reach. Then nothing is there that looks like a back-up; media that were copied are used by the next one.
    """
    work = _Work(connection, settings, graph, follower or Follower())
    directory = directory.expanduser().absolute()
    with explained(directory), alone(directory):
        part = part_folder(directory, media=media, derived=derived)
        try:
            done = _write(work, part, media=media, derived=derived, config=config)
        except BaseException:
            clear(part, keep_files=media and (part / MEDIA).is_dir())
            raise
        place = place_for(directory, done.manifest.began_at)
        part.rename(place)
        done.path = place
        if keep:
            for old in whole_backups(directory)[:-keep]:
                remove(old)
                done.removed.append(old)
    return done


def _write(work: _Work, part: Path, *, media: bool, derived: bool, config: Path | None) -> BackedUp:
    began_at = datetime.now(UTC)
    schema_version = _schema_version(work)
    collections, parts, total_bytes = _dump(work, part)
    steering = home_files.save(work.settings, config, part)
    parts |= steering.parts
    _check_room(work.settings, part, total_bytes if media else 0)
    counts = Count(), Count()
    if media or derived:
        _carry(work, part, counts, collections["videos"].documents, media=media, derived=derived)
    of_media, of_derived = counts
    build = work.connection.client.server_info()
    manifest = Manifest(
        vidpipe=__version__, schema_version=schema_version, began_at=began_at, made_at=datetime.now(UTC),
        server=f"MongoDB {build.get('version', '')}", database=work.connection.database.name,
        collection_name=work.settings.mongodb.collection_name, collections=collections, parts=parts,
        settings=tuple(steering.names), notes=tuple(steering.notes),
        media=_carried(of_media, included=media), derived=_carried(of_derived, included=derived),
        derived_directory=work.settings.relative(work.settings.derived_directory),
    )  # fmt: skip
    manifest.write(part)
    return BackedUp(part, manifest, of_media, of_derived)


def _carried(count: Count, *, included: bool) -> Carried:
    return Carried(included=included, files=count.files, size_bytes=count.size_bytes, missing=count.missing)


def _schema_version(work: _Work) -> int:
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
            "Check [MongoDB] DatabaseName and CollectionName; `vidpipe add` takes videos in.",
        )
    return found.version


def _dump(work: _Work, part: Path) -> tuple[dict[str, DumpedCollection], dict[str, Part], int]:
    """Every collection. Gives what the manifest says of them, their parts, and the bytes of all media."""
    collections: dict[str, DumpedCollection] = {}
    parts: dict[str, Part] = {}
    below = f"dump/{work.connection.database.name}"

    def add(name: str, written: CollectionWriter) -> None:
        collections[name], more = written.close(metadata(work.connection.collection(name)))
        parts.update(more)

    def dump(name: str) -> None:
        collection = work.connection.collection(name)
        total = collection.estimated_document_count()
        with writer(part, below, collection.name) as file:
            for page in pages(collection, work.retry):
                file.write(page)
                work.follower.progress(name, file.documents, total)
            add(name, file)

    for name in _BEFORE:
        dump(name)
    videos, scenes = (work.connection.collection(name) for name in ("videos", "scenes"))
    total = videos.estimated_document_count()
    key = work.graph.key("raw_video") if "raw_video" in work.graph else ""
    stages = [stage.name for stage in work.graph if stage.result.scene_fields]
    media = MediaListWriter(part)
    with writer(part, below, videos.name) as video_file, writer(part, below, scenes.name) as scene_file:
        for found, their_scenes in videos_with_scenes(videos, scenes, stages, work.retry):
            video_file.write(found)
            scene_file.write(their_scenes)
            for video in found:
                media.write(media_file(video, video.get(key)))
            work.follower.progress("videos", video_file.documents, total)
        add("videos", video_file)
        add("scenes", scene_file)
    parts[MEDIA_LIST] = media.close()
    for name in _AFTER:
        dump(name)
    return collections, parts, media.size_bytes


def _carry(work: _Work, part: Path, counts: tuple[Count, Count], videos: int, *, media: bool, derived: bool) -> None:
    settings = work.settings
    of_media, of_derived = counts
    earlier = next(reversed(whole_backups(part.parent)), None)
    for number, file in enumerate(media_list(part), start=1):
        work.follower.check()
        if media:
            source = settings.resolve(file.path)
            # A file that is only referenced is its owner's, who may change it in place.
            last = earlier / file.place if earlier else None
            how = carry_in(
                source, part / file.place, file.size_bytes, work.follower, link=not file.referenced, earlier=last
            )
            _count(of_media, how, file.path, file.size_bytes)
        if derived:
            for source, name in pack_files(settings.derived_directory, file.video):
                last = earlier / DERIVED / name if earlier else None
                how = carry_in(source, part / DERIVED / name, None, work.follower, link=True, earlier=last)
                size_bytes = (part / DERIVED / name).stat().st_size if how != "missing" else 0
                _count(of_derived, how, name, size_bytes)
        work.follower.progress("files", number, videos)


def _count(count: Count, how: str, name: str, size_bytes: int) -> None:
    if how == "missing":
        count.lacks(name)
        return
    setattr(count, how, getattr(count, how) + 1)
    count.size_bytes += size_bytes


def _check_room(settings: Settings, part: Path, media_bytes: int) -> None:
    """Raises UnavailableError where the media would not fit; links take no room."""
    there = settings.media_directory
    if not media_bytes or (there.is_dir() and there.stat().st_dev == part.stat().st_dev):
        return
    copied = sum(path.stat().st_size for path in (part / MEDIA).rglob("*") if path.is_file())
    free = shutil.disk_usage(part).free
    if free < media_bytes - copied:
        raise UnavailableError(
            f"The media are {media_bytes / 1e9:.1f} GB, and the disk of {part.parent} has {free / 1e9:.1f} GB free.",
            "Make room there, name another folder, or leave out --media.",
        )


def plain(done: BackedUp) -> Mapping[str, Any]:
    """A back-up for `--json` and the audit log."""
    manifest = done.manifest
    return {
        "path": done.path,
        "schema_version": manifest.schema_version,
        "documents": {name: collection.documents for name, collection in manifest.collections.items()},
        "size_bytes": sum(part.size_bytes for part in manifest.parts.values()),
        "settings": list(manifest.settings),
        "media": _plain_files(manifest.media, done.media),
        "derived": _plain_files(manifest.derived, done.derived),
        "notes": list(manifest.notes),
        "removed": done.removed,
    }


def _plain_files(carried: Carried, count: Count) -> Document:
    return {
        **carried.model_dump(), "linked": count.linked, "copied": count.copied, "present": count.present,
        "missing_names": count.some,
    }  # fmt: skip
