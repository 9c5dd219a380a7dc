"""A file that is not whole yet: its bytes so far, their hash, and what is needed to go on after a break or a kill."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from vidpipe.ingest.answer_headers import ContentRange
from vidpipe.ingest.faults import FetchCancelled, http_date, writing
from vidpipe.safe_files import open_regular

BLOCK_BYTES = 1 << 20
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]+"')
#: A file that was last modified this long before the answer is not written twice within that second, even where the
#: clocks of the server's machines differ a little.
_SETTLED = timedelta(seconds=60)


class Validators(BaseModel):
    """What a server calls this version of the file (RFC 9110, 8.8)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    etag: str | None = None
    last_modified: str | None = None

    @property
    def if_range(self) -> str | None:
        """The value of If-Range (RFC 9110, 13.1.5): a strong ETag or, where there is no ETag at all, Last-Modified.
        None: this server's parts cannot be joined."""
        if self.etag is not None:
            return self.etag if _STRONG_ETAG.fullmatch(self.etag) else None
        return self.last_modified if http_date(self.last_modified) else None

    def vouches_for(self, part: Validators) -> bool:
        """Whether an answer with these validators holds a part of the very version that has the validators `part`.

        What If-Range named must be repeated, and nothing else may contradict it: some servers ignore If-Range.
        """
        if part.if_range is None or self.etag != part.etag:
            return False
        if self.last_modified == part.last_modified:
            return True
        return part.etag is not None and None in (self.last_modified, part.last_modified)

    def conditional_headers(self) -> dict[str, str]:
        """Headers that ask for the file only if it is another version."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": None if self.etag else self.last_modified}
        return {name: value for name, value in headers.items() if value}


class PartialState(Validators):
    """Written beside the bytes, before the first of them. encoding: as announced, although the bytes are plain."""

    total_bytes: int | None = None
    encoding: str = ""

    @classmethod
    def of(
        cls, validators: Validators, answered_at: datetime, *, total_bytes: int | None, encoding: str = ""
    ) -> PartialState:
        """The state of an answer whose parts can be joined, as far as its validators are strong.

        Last-Modified is, if it lies some time before the answer (RFC 9110, 8.8.2.2): a file that was just written may
        be written again within the same second.
        """
        modified = http_date(validators.last_modified)
        if validators.etag is None and (modified is None or answered_at - modified < _SETTLED):
            validators = Validators()
        return cls(**validators.model_dump(), total_bytes=total_bytes, encoding=encoding)

    def joined(self, held: ContentRange | None, offset: int, validators: Validators, encoding: str) -> Self | None:
        """The state after a 206 that holds the bytes `held` and was asked to begin at `offset`; None where it must not
        be joined to what is there. It may begin earlier than asked, at a block's border."""
        if held is None or not held.first <= offset <= held.last:
            return None
        totals = {total for total in (self.total_bytes, held.total) if total is not None}
        if len(totals) > 1 or encoding != self.encoding or not validators.vouches_for(self):
            return None
        return self.model_copy(update={"total_bytes": next(iter(totals), None)})


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
        """Takes up what is there: its bytes are hashed again, and dropped if the download cannot be resumed."""
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
    with open_regular(path) as file:
        while block := file.read(BLOCK_BYTES):
            if cancelled.is_set():
                raise FetchCancelled
            digest.update(block)
            size += len(block)
            if on_bytes:
                on_bytes(size)
    return digest, size
