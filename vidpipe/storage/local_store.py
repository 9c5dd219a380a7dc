"""The local folders of [Paths] as a store, so that files can be moved from and to it like between any others."""

import hashlib
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from vidpipe.media.frame_pack import partial_folder
from vidpipe.safe_files import extract_files
from vidpipe.settings import Settings
from vidpipe.storage.object_store import LOCAL, Progress, StoredObject, StoreError
from vidpipe.storage.verified_store import VerifiedStore

_PART_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20
_KEY = re.compile(r"media/[0-9a-f]{2}/[0-9a-f]{64}\.\w{1,20}|packs/[0-9a-f]{64}/[0-9a-f]{16}\.tar")
_NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
_MAX_FILES = 100_000


class LocalStore(VerifiedStore):
    """The media folder, and the folder of frame packs; a pack is a tar archive only while it is transferred."""

    url, part_bytes = LOCAL, _PART_BYTES

    def __init__(self, settings: Settings) -> None:
        self._media = settings.media_directory
        self._packs = settings.derived_directory

    def path(self, key: str) -> Path:
        """Return the place of an object: a file, or the folder of a pack. Raises StoreError for an invalid key."""
        if not _KEY.fullmatch(key):
            raise StoreError(f"{key} is not a key of a stored object.", kind="permanent")
        kind, _, rest = key.partition("/")
        return self._media / rest if kind == "media" else self._packs / rest.removesuffix(".tar")

    def _find(self, key: str) -> StoredObject | None:
        path = self.path(key)
        if not path.exists():
            return None
        size, modified_s = path.stat().st_size, path.stat().st_mtime
        if path.is_dir():
            size = sum(len(part) if isinstance(part, bytes) else part.stat().st_size for part in _archive(path))
        return StoredObject(key, size, modified_at=datetime.fromtimestamp(modified_s, UTC))

    def _holds(self, key: str, file: Path, sha256: str) -> bool:
        if self.stat(key) is None:
            return False
        digest = hashlib.sha256()
        with self._explained():
            for data in self._bytes(key):
                digest.update(data)
        return digest.hexdigest() == sha256

    def _send(self, key: str, file: Path, sha256: str, progress: Progress) -> None:
        final, blocks = self.path(key), self._blocks(file, sha256, progress)
        with partial_folder(final.parent) as new:
            if key.startswith("packs/"):
                for _ in blocks:
                    pass
                _extract(file, new)
                new.chmod(0o755)
                if final.exists():  # it is damaged
                    final.rename(final.with_name(f"{new.name}-old"))
                new.rename(final)
                return
            with (new / final.name).open("wb") as opened:
                for data in blocks:
                    opened.write(data)
                opened.flush()
                os.fsync(opened.fileno())
            (new / final.name).replace(final)

    def _range(self, key: str, start: int, length: int) -> bytes:
        return b"".join(self._bytes(key, start, start + length))

    def _delete(self, key: str) -> None:
        path = self.path(key)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        files = [f"media/{path.parent.name}/{path.name}" for path in self._media.glob("??/*")]
        packs = [f"packs/{path.parent.name}/{path.name}.tar" for path in self._packs.glob("*/*")]
        for key in sorted(files + packs):
            if key.startswith(prefix) and _KEY.fullmatch(key) and (found := self._find(key)):
                yield found

    def _bytes(self, key: str, start: int = 0, end: int = sys.maxsize) -> Iterator[bytes]:
        """Yield the bytes from `start` to `end` of a file, or of the archive of a pack."""
        path = self.path(key)
        parts: Iterable[bytes | Path] = _archive(path) if path.is_dir() else [path]
        for part in parts:
            size = len(part) if isinstance(part, bytes) else part.stat().st_size
            if start < size and end > 0:
                yield from [part[start:end]] if isinstance(part, bytes) else _file_bytes(part, start, min(size, end))
            start, end = max(0, start - size), end - size


def _archive(pack: Path) -> Iterator[bytes | Path]:
    """Yield the parts of a pack's archive: files, and what is between them. Equal packs have equal archives."""
    size = 0
    for file in sorted(pack.iterdir()):
        entry = tarfile.TarInfo(file.name)
        entry.size = file.stat().st_size
        padding = bytes(-entry.size % tarfile.BLOCKSIZE)
        yield from (entry.tobuf(tarfile.USTAR_FORMAT), file, padding)
        size += tarfile.BLOCKSIZE + entry.size + len(padding)
    end = 2 * tarfile.BLOCKSIZE
    yield bytes(end + -(size + end) % tarfile.RECORDSIZE)


def _file_bytes(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while data := file.read(min(_BLOCK_BYTES, end - file.tell())):
            yield data


def _extract(archive: Path, folder: Path) -> None:
    """Extract an archive of plain files with plain names; it is not compressed, so it cannot expand."""
    try:
        with tarfile.open(archive, "r:") as tar:
            files = list(islice(tar, _MAX_FILES + 1))
            plain = all(file.isreg() and not file.issparse() and _NAME.fullmatch(file.name) for file in files)
            if plain and len({file.name for file in files}) == len(files) <= _MAX_FILES:
                return extract_files(tar, files, folder)
    except tarfile.TarError:
        pass
    raise StoreError(f"{archive.name} is not the archive of a frame pack.", kind="permanent")
