"""Repairs a library: salvages the embedded server's data, and adds stored files that no video's document names.

The data are repaired in a copy, which replaces the damaged folder once it is complete:

data/mongo.repairing/   the copy that mongod repairs; an interrupted repair starts over
data/mongo.repaired/    a repaired copy that has not yet replaced the damaged folder
data/damaged/TIME/      the damaged files; nothing in it is ever deleted
"""

import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.library.embedded import MIN_FREE_BYTES, files_of, locked, size_of, stop
from vidpipe.library.library import Library
from vidpipe.library.mongod import find_mongod, repair
from vidpipe.library.mongod_files import ServerFiles, holds_data, stored_videos
from vidpipe.library.videos import chunked
from vidpipe.settings import Settings
from vidpipe.settings.logs import AUDIT_NAME
from vidpipe.sources.media_store import hash_file
from vidpipe.sources.records import NO_FAILURE, SourceRecord
from vidpipe.sources.source_request import request_for
from vidpipe.sources.urls import url_file_name
from vidpipe.stages.ingest_facts import IngestFacts


@dataclass
class AuditedVideo:
    """What audit.jsonl records about a video.

    Attributes:
        names: Its file names.
        sources: Its URLs, without secrets.
    """

    names: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)


@dataclass
class RebuildResult:
    """What a rebuild found.

    Attributes:
        videos: sha256 of the videos added.
        damaged: Files whose content does not match the hash in their name.
    """

    videos: list[str] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)


def unknown_files(library: Library) -> Iterator[tuple[str, Path]]:
    """Yield (sha256, path) of the stored files that no video's document names."""
    files = dict(stored_videos(library.settings))
    for chunk in chunked(files):
        known = {row["_id"] for row in library.collections["videos"].find({"_id": {"$in": chunk}}, {"_id": 1})}
        yield from ((sha256, files[sha256]) for sha256 in chunk if sha256 not in known)


def rebuild(library: Library) -> RebuildResult:
    """Add every unknown file whose content still matches the hash in its name; all its stages become due.

    Names and sources come from audit.jsonl. Labels, titles and results cannot be recovered.
    """
    done, audited = RebuildResult(), audited_videos(library.settings)
    for sha256, path in unknown_files(library):
        found, _ = hash_file(path, threading.Event())
        if found == sha256:
            _add(library, sha256, path, audited.get(sha256, AuditedVideo()))
            done.videos.append(sha256)
        else:
            done.damaged.append(path)
    return done


def lost_videos(library: Library) -> dict[str, set[str]]:
    """Return sha256 -> URLs, without secrets, of videos that sources or audit.jsonl name but the library lacks."""
    named = {sha256: known.sources for sha256, known in audited_videos(library.settings).items()}
    for row in library.collections["sources"].find({"state": "stored"}, {"video": 1, "url": 1}):
        named.setdefault(row["video"], set()).add(row["url"])
    for chunk in chunked(list(named)):
        for row in library.collections["videos"].find({"_id": {"$in": chunk}}, {"_id": 1}):
            del named[row["_id"]]
    return named


def request_again(library: Library, lost: Mapping[str, set[str]]) -> list[str]:
    """Mark the sources of lost videos as new; return their URLs, for use in a list."""
    again = {**NO_FAILURE, "state": "new", "video": None}
    for chunk in chunked(list(lost)):
        library.collections["sources"].update_many({"state": "stored", "video": {"$in": chunk}}, {"$set": again})
    records = [_record(sha256, url) for sha256, urls in lost.items() for url in urls]
    return sorted({record.url for record in records if record is not None})


def _add(library: Library, sha256: str, path: Path, known: AuditedVideo) -> None:
    stat = path.stat()
    records = [record for url in sorted(known.sources) if (record := _record(sha256, url)) is not None]
    names = {*known.names, *(record.file_name for record in records if record.file_name)} - {sha256[:12]}
    facts = IngestFacts(
        path=library.settings.relative(path),
        size_bytes=stat.st_size,
        modified_ns=stat.st_mtime_ns,
        names=tuple(sorted(names)),
        urls=tuple(record.url for record in records),
    )
    library.videos.add(sha256, facts)
    for record in records:
        library.sources.save(record)


def _record(sha256: str, url: str) -> SourceRecord | None:
    """Return the source's record; None for a URL that was logged with its secrets masked."""
    with suppress(VidpipeError):
        request = request_for(url)
        if not request.has_secret:
            file_name, now = url_file_name(request.url.display_url), datetime.now(UTC)
            return SourceRecord(**request.identity, state="stored", video=sha256, file_name=file_name, first_seen=now)
    return None


def audited_videos(settings: Settings) -> dict[str, AuditedVideo]:
    """Return sha256 -> what audit.jsonl and its rotated files record about each video not forgotten since."""
    found: dict[str, AuditedVideo] = {}
    for entry in audited(settings):
        if entry.get("event") == "forget":
            for one in entry.get("videos", ()):
                if one["state"] == "forgotten":
                    found.pop(one["video"], None)
        if entry.get("event") in ("source", "stage") and isinstance(entry.get("video"), str):
            known = found.setdefault(entry["video"], AuditedVideo())
            if isinstance(entry.get("url"), str):
                known.sources.add(entry["url"])
            if isinstance(entry.get("name"), str):
                known.names.add(entry["name"])
    return found


def audited(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the entries of audit.jsonl and its rotated files, oldest first."""
    log = settings.resolve(settings.logging.log_file).with_name(AUDIT_NAME)
    for path in sorted(log.parent.glob(f"{AUDIT_NAME}*"), key=lambda path: path.stat().st_mtime):
        with suppress(OSError), path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with suppress(ValueError):
                    entry = json.loads(line)
                    if isinstance(entry, dict):
                        yield entry


@dataclass
class DamagedFilesFolder:
    """A dated folder of the home for damaged files, created when the first file is moved into it.

    Attributes:
        settings: The settings of the home.
        moved: New paths of the files moved so far.
    """

    settings: Settings
    moved: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.settings.data_directory / "damaged" / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"

    def move(self, path: Path) -> Path:
        """Move a file or folder here, keeping its path below the data directory; return its new path."""
        data = self.settings.data_directory
        relative = path.relative_to(data) if path.is_relative_to(data) else Path(path.name)
        place = self.folder / relative
        number = 1
        while os.path.lexists(place):
            number += 1
            place = (self.folder / relative).with_name(f"{relative.name}.{number}")
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.move(path, place)
        self.moved.append(place)
        return place


def salvage(settings: Settings, aside: DamagedFilesFolder) -> bool:
    """Replace the server's damaged data by a repaired copy and move the originals to `aside`.

    If nothing can be salvaged, the damaged data are still moved and False is returned: the next server starts empty.
    Safe to interrupt and repeat.

    Raises:
        UnavailableError: The server cannot be stopped, or the disk has no space for the copy.
    """
    files = files_of(settings)
    copy, repaired = (files.data.with_name(f"{files.data.name}.{name}") for name in ("repairing", "repaired"))
    stop(settings)
    if not files.data.is_dir():
        if os.path.lexists(files.data):
            aside.move(files.data)
        if repaired.is_dir():
            repaired.rename(files.data)
        return files.data.is_dir()
    with locked(files):
        shutil.rmtree(repaired, ignore_errors=True)
        if _repair_copy(files, copy):
            copy.rename(repaired)
        else:
            shutil.rmtree(copy, ignore_errors=True)
        aside.move(files.data)
        if files.log.exists():
            aside.move(files.log)  # its errors are about the damaged data
        if repaired.is_dir():
            repaired.rename(files.data)
    return files.data.is_dir()


def _repair_copy(files: ServerFiles, copy: Path) -> bool:
    """Copy the data to `copy` and repair them there; return whether that succeeded."""
    shutil.rmtree(copy, ignore_errors=True)
    if not holds_data(files.data):
        return False
    needed, free = size_of(files.data) + MIN_FREE_BYTES, shutil.disk_usage(files.data).free
    if free < needed:
        raise UnavailableError(
            f"The repair needs a copy of {files.data}, but only {free / 1e6:.0f} MB are free on its disk.",
            f"Free {needed / 1e6:.0f} MB on it.",
        )
    log = files.log.with_name("mongod-repair.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    program = find_mongod()
    # mongod recreates these two; the journal holds the writes of the last minute
    for without in ((), ("storage.bson", "journal")):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(files.data, copy, ignore=shutil.ignore_patterns("*.lock", *without))
        copy.chmod(0o700)
        if repair(program, ServerFiles(data=copy, log=log)):
            return True
    return False
