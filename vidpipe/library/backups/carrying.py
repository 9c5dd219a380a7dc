"""Files of media and frame packs: into a back-up by link or copy, and out of it by copy, each whole under its name."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from vidpipe.library.backups.manifest import BackupError, Follower, HashingFile, Part, below

MEDIA_LIST = "media.jsonl.gz"
MEDIA, DERIVED = "media", "derived"
COPYING = ".copying"
_BLOCK_BYTES = 1 << 20
_SHA256 = re.compile("[0-9a-f]{64}")
_SHOWN = 20


@dataclass(frozen=True)
class MediaFile:
    """One line of the list. path: relative to the home, or absolute; the hash of its bytes is `video`."""

    video: str
    path: str
    size_bytes: int
    modified_ns: int
    referenced: bool = False

    @property
    def place(self) -> str:
        """Below the back-up."""
        return f"{MEDIA}/{self.video[:2]}/{self.video}{Path(self.path).suffix[:20]}"


@dataclass
class Count:
    """What became of files. present: were there already; missing: `some` of them by name."""

    linked: int = 0
    copied: int = 0
    present: int = 0
    missing: int = 0
    damaged: int = 0
    size_bytes: int = 0
    some: list[str] = field(default_factory=list)

    @property
    def files(self) -> int:
        return self.linked + self.copied + self.present

    def lacks(self, name: str, *, damaged: bool = False) -> None:
        if damaged:
            self.damaged += 1
        else:
            self.missing += 1
        if len(self.some) < _SHOWN:
            self.some.append(name)


def media_file(video: Mapping[str, Any], raw: Mapping[str, Any] | None) -> MediaFile:
    """Where a video's file lies. raw: the result of the stage that looked for it last, and may have fetched it anew."""
    facts = video["ingest"]
    last = raw if raw is not None and "path" in raw else facts
    return MediaFile(
        video["_id"], last["path"], last["size_bytes"], last["modified_ns"], bool(facts.get("referenced", False))
    )


class MediaListWriter:
    def __init__(self, folder: Path) -> None:
        self._file = HashingFile(folder / MEDIA_LIST)
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, mtime=0)
        self.size_bytes = 0

    def write(self, media: MediaFile) -> None:
        self._gzip.write(json.dumps(asdict(media)).encode() + b"\n")
        self.size_bytes += media.size_bytes

    def close(self) -> Part:
        self._gzip.close()
        return self._file.close()


def media_list(folder: Path) -> Iterator[MediaFile]:
    with gzip.open(folder / MEDIA_LIST, "rt", encoding="utf-8") as lines:
        for line in lines:
            file = MediaFile(**json.loads(line))
            if not _SHA256.fullmatch(file.video):
                raise BackupError(f"{folder / MEDIA_LIST} is not as vidpipe wrote it.", "Name another back-up.")
            yield file


def carry_in(
    source: Path, target: Path, size_bytes: int | None, follower: Follower, *, link: bool, earlier: Path | None = None
) -> Literal["linked", "copied", "present", "missing"]:
    """A file into a back-up. Errors: OSError of the back-up's disk, Stopped.

    size_bytes: what it has to have (None: whatever it has)
    link:       where it can be a second name of the same bytes; only for files that nobody changes in place
    earlier:    the same file in the last back-up, which needs no copy either
    """
    try:
        found = source.stat()
    except OSError:
        return "missing"
    if size_bytes is not None and found.st_size != size_bytes:
        return "missing"
    with contextlib.suppress(FileNotFoundError):
        if target.stat().st_size == found.st_size:
            return "present"
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    same_bytes = [path for path in (source if link else None, earlier) if path is not None]
    for same in same_bytes:
        with contextlib.suppress(OSError):  # another disk, or one without links
            if same.stat().st_size == found.st_size:
                os.link(same, target)
                return "linked"
    try:
        opened = source.open("rb")
    except OSError:
        return "missing"
    with opened:
        _copy(opened, target, follower, (found.st_atime_ns, found.st_mtime_ns))
    return "copied"


def carry_out(
    source: Path, target: Path, sha256: str | None, modified_ns: int | None, follower: Follower
) -> Literal["copied", "missing", "damaged"]:
    """A file out of a back-up, in its place whole and with the right hash, or not at all.

    Errors: OSError of the disk it goes to, Stopped.
    """
    try:
        opened = source.open("rb")
        found = source.stat()
    except OSError:
        return "missing"
    with opened:
        target.parent.mkdir(parents=True, exist_ok=True)
        times = (found.st_atime_ns, found.st_mtime_ns if modified_ns is None else modified_ns)
        return "copied" if _copy(opened, target, follower, times, sha256) else "damaged"


def _copy(
    source: IO[bytes], target: Path, follower: Follower, times: tuple[int, int], sha256: str | None = None
) -> bool:
    """False, and nothing is left, where the bytes have another hash than `sha256`."""
    part = target.with_name(target.name + COPYING)
    digest = hashlib.sha256()
    try:
        with part.open("wb") as file:
            while block := source.read(_BLOCK_BYTES):
                follower.check()
                file.write(block)
                if sha256 is not None:
                    digest.update(block)
            file.flush()
            os.fsync(file.fileno())
        if sha256 is not None and digest.hexdigest() != sha256:
            return False
        os.utime(part, ns=times)
        part.replace(target)
        return True
    finally:
        part.unlink(missing_ok=True)


def pack_files(derived: Path, sha256: str) -> Iterator[tuple[Path, str]]:
    """(file, its path below `derived`) of every whole frame pack of a video."""
    folder = derived / sha256
    if not folder.is_dir():
        return
    for version in sorted(folder.iterdir()):
        if version.is_dir() and not version.name.startswith("."):
            for file in sorted(version.iterdir()):
                if file.is_file():
                    yield file, f"{sha256}/{version.name}/{file.name}"


def put_packs(folder: Path, derived: Path, sha256: str, count: Count, follower: Follower) -> None:
    """A video's frame packs out of a back-up; a folder that is there stays. Errors: as of `carry_out`."""
    from vidpipe.media.frame_pack import TEMPORARY

    saved = folder / DERIVED / sha256
    if saved.is_symlink():
        return
    for version in sorted(saved.iterdir()) if saved.is_dir() else ():
        place = derived / below(f"{sha256}/{version.name}")
        if place.is_dir():
            count.present += 1
            continue
        new = place.with_name(f"{TEMPORARY}{version.name}")
        shutil.rmtree(new, ignore_errors=True)
        try:
            for file in sorted(version.iterdir()):
                if file.is_file() and not file.is_symlink():
                    carry_out(file, new / file.name, None, None, follower)
                    count.size_bytes += file.stat().st_size
            with contextlib.suppress(FileNotFoundError):  # an empty folder
                new.rename(place)
            count.copied += 1
        finally:
            shutil.rmtree(new, ignore_errors=True)


def left_copies(folder: Path) -> Iterator[Path]:
    """What a copy that was cut off left."""
    yield from (path for path in folder.rglob(f"*{COPYING}") if path.is_file())
