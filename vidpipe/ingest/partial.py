"""A file that is not whole yet: its bytes so far, their hash, and what is needed to go on after a break or a kill."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from vidpipe.ingest.faults import FetchCancelled, writing

BLOCK_BYTES = 1 << 20


class Validators(BaseModel):
    """What a server calls this version of the file (RFC 9110, 8.8)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    etag: str | None = None
    last_modified: str | None = None

    @property
    def if_range(self) -> str | None:
        """The value of If-Range: a strong ETag, else Last-Modified; None: this server's parts cannot be joined."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def conditional_headers(self) -> dict[str, str]:
        """Headers that ask for the file only if it is another version."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": None if self.etag else self.last_modified}
        return {name: value for name, value in headers.items() if value}


class PartialState(Validators):
    """Written beside the bytes, before the first of them."""

    total_bytes: int | None = None


class PartialFile:
    """`<id>.part` and `<id>.json` in `directory`. Opening goes on where an earlier run, killed or not, ended.

    size:  bytes so far
    state: of the version that the bytes belong to
    """

    def __init__(self, directory: Path, source_id: str) -> None:
        self.path = directory / f"{source_id}.part"
        self._state_path = directory / f"{source_id}.json"
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self.size = 0
        self.state = PartialState()

    def open(self, cancelled: threading.Event) -> None:
        """Takes up what is there: its bytes are hashed again, and dropped where they could not be gone on with."""
        try:
            self.state = PartialState.model_validate_json(self._state_path.read_bytes())
            resumable = self.state.if_range is not None and self.path.is_file()
        except (OSError, ValidationError):
            resumable = False
        if not resumable:
            self.start(PartialState())
            return
        self._hash, self.size = hash_file(self.path, cancelled)
        self._file = self.path.open("ab", buffering=0)

    def start(self, state: PartialState) -> None:
        """Begins anew, with the bytes of the version that `state` names."""
        self.close()
        with writing(self.path):
            new = self._state_path.with_suffix(".json.new")
            new.write_text(state.model_dump_json(), encoding="utf-8")
            # a new file, never an old one emptied: what a killed run left here may be a hard link to the user's own
            self.path.unlink(missing_ok=True)
            self._file = self.path.open("xb", buffering=0)
            os.replace(new, self._state_path)
        self.state, self.size, self._hash = state, 0, hashlib.sha256()

    def append(self, data: bytes) -> None:
        if self._file is None:
            raise ValueError("the partial file is not open")
        with writing(self.path):
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        self._hash.update(data)
        self.size += len(data)

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Removes the bytes and what is known of them."""
        self.close()
        self.path.unlink(missing_ok=True)
        self.forget()
        self.size, self._hash = 0, hashlib.sha256()

    def forget(self) -> None:
        """Removes what is known of the bytes, after the file itself has gone into the store."""
        self._state_path.unlink(missing_ok=True)
        self._state_path.with_suffix(".json.new").unlink(missing_ok=True)


def hash_file(
    path: Path, cancelled: threading.Event, on_bytes: Callable[[int], None] | None = None
) -> tuple[hashlib._Hash, int]:
    """(sha256 object, number of bytes) of a file's content. Errors: FetchCancelled, OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            if cancelled.is_set():
                raise FetchCancelled
            digest.update(block)
            size += len(block)
            if on_bytes:
                on_bytes(size)
    return digest, size
