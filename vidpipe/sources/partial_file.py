"""An incomplete file, which the next attempt or run continues."""

import hashlib
import os
import threading
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from vidpipe.network.http_response import PartialState
from vidpipe.sources.media_store import read_blocks, writing


class PartialFile:
    """`<id>.part` and `<id>.json` in a folder; opening resumes where an earlier run, killed or not, ended.

    Attributes:
        path: The file of bytes.
        size: Bytes so far.
        state: The version that the bytes belong to.
    """

    def __init__(self, directory: Path, source_id: str) -> None:
        self.path = directory / f"{source_id}.part"
        self._state_path = directory / f"{source_id}.json"
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self.size = 0
        self.state = PartialState()

    def open(self, cancelled: threading.Event) -> None:
        """Open the file: existing bytes are hashed again, and dropped if the download cannot be resumed."""
        try:
            self.state = PartialState.model_validate_json(self._state_path.read_bytes())
            resumable = self.state.if_range is not None and self.path.is_file()
        except (OSError, ValidationError):
            resumable = False
        if not resumable:
            self.start(PartialState())
            return
        self._hash, self.size = hashlib.sha256(), 0
        for block in read_blocks(self.path, cancelled):
            self._hash.update(block)
            self.size += len(block)
        self._file = self.path.open("ab", buffering=0)

    def start(self, state: PartialState) -> None:
        """Start over with the bytes of the version that `state` names."""
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
        """Write the next bytes."""
        if self._file is None:
            raise ValueError("the partial file is not open")
        with writing(self.path):
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        self._hash.update(data)
        self.size += len(data)

    def adopt(self, file: Path, cancelled: threading.Event) -> None:
        """Take a finished file on the same disk as all of the bytes, without copying it. Raises FetchCancelled."""
        self.start(PartialState())
        with writing(self.path):
            os.replace(file, self.path)
        for block in read_blocks(self.path, cancelled):
            self._hash.update(block)
            self.size += len(block)

    def sha256(self) -> str:
        """Return the hash of the bytes so far."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file; it can be opened again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Delete the bytes and their state."""
        self.close()
        self.path.unlink(missing_ok=True)
        self.forget()
        self.size, self._hash = 0, hashlib.sha256()

    def forget(self) -> None:
        """Delete the state of the bytes, after the file itself was moved into the store."""
        self._state_path.unlink(missing_ok=True)
        self._state_path.with_suffix(".json.new").unlink(missing_ok=True)
