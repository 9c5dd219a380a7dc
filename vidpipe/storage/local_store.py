"""The local folders of [Paths] as a store, so that files can be moved from and to it like between any others."""

import contextlib
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from vidpipe.media.frame_pack import partial_folder
from vidpipe.safe_files import extract_files
from vidpipe.settings import Settings
from vidpipe.storage.object_store import LOCAL, Progress, StoredObject, StoreError
from vidpipe.storage.verified_store import VerifiedStore

_PART_BYTES = 64 << 20
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
            files = sum(512 + -(-file.stat().st_size // 512) * 512 for file in path.iterdir())
            size = -(-(files + 1024) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
        return StoredObject(key, size, modified_at=datetime.fromtimestamp(modified_s, UTC))

    def _holds(self, key: str, file: Path, sha256: str) -> bool:
        if self.stat(key) is None:
            return False
        with self._explained(), self._open(key) as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == sha256

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
        with self._open(key) as opened:
            opened.seek(start)
            return bytes(opened.read(length))

    def _delete(self, key: str) -> None:
        path = self.path(key)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        files = [f"media/{path.parent.name}/{path.name}" for path in self._media.glob("??/*")]
        packs = [f"packs/{path.parent.name}/{path.name}.tar" for path in self._packs.glob("*/*")]
        for key in sorted(files + packs):
            if key.startswith(prefix) and _KEY.fullmatch(key) and (found := self._find(key)):
                yield found

    @contextlib.contextmanager
    def _open(self, key: str) -> Iterator[Any]:
        """Open a file, or the archive of a pack: equal packs have equal archives."""
        path = self.path(key)
        if not path.is_dir():
            with path.open("rb") as opened:
                yield opened
            return
        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for file in sorted(path.iterdir()):
                    tar.add(file, file.name, recursive=False, filter=_without_owner)
            archive.seek(0)
            yield archive


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime, entry.mode, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0o644, 0, 0, "", ""
    return entry


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
