"""What all stores have in common: verified and resumed transfers, retries, and errors that say what to do."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vidpipe.errors import VidpipeError
from vidpipe.network.fetch_errors import TRANSIENT_STATUS, FaultKind, FetchCancelled
from vidpipe.network.retry import RetryPolicy
from vidpipe.storage.object_store import NoSuchObject, Progress, StoredObject, StoreError

Result = TypeVar("Result")

#: Bytes of one request. S3 accepts 10,000 parts of a file, so files have at most 156 GiB.
PART_BYTES = 16 << 20
#: On top of what the client libraries do: for broken bodies, and uploads that another process has completed.
_POLICY = RetryPolicy(attempts=4, backoff_s=0.5, max_wait_s=20.0)
#: Status -> what is wrong, what to do, and whether that helps.
_REASONS: dict[int, tuple[str, str, FaultKind]] = {
    0: ("the storage is not available", "Check that it can be reached and is not full.", "transient"),
    401: ("access is denied", "Check {}.", "permanent"),
    404: ("there is no such bucket", "Create it, or correct [Storage] Media.", "permanent"),
    409: ("the storage is busy", "", "transient"),
}
_OTHER: tuple[str, str, FaultKind] = ("the storage rejected the request", "", "permanent")
_OWN_ERRORS = (VidpipeError, FetchCancelled, ImportError, TypeError, AttributeError, LookupError, AssertionError)
_NO_ACCESS = ("Auth", "Credential", "Token", "Refresh", "BadInputException")


class VerifiedStore(Protocol):
    """Base of the stores, of which each implements the methods that begin with an underscore.

    A store is used by several threads, and every public method raises StoreError.

    Attributes:
        url: As in [Storage] Media.
        part_bytes: Bytes of one request.
        access: What gives access to the store, for hints.
    """

    url: str
    part_bytes: int = PART_BYTES
    access: str = "its configuration"

    def _find(self, key: str) -> StoredObject | None:
        """Return the object; None if there is none. Without a bucket, raises an error with status 404."""

    def _send(self, key: str, file: Path, sha256: str, progress: Progress) -> None:
        """Upload the `_blocks` of a file."""

    def _range(self, key: str, start: int, length: int) -> bytes:
        """Return bytes that exist."""

    def _delete(self, key: str) -> None:
        """Delete an object that may exist, and its incomplete uploads."""

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with `prefix`."""

    def put(self, key: str, file: Path, sha256: str, progress: Progress) -> None:
        """Store a file: in parts if it is large, resumed where an earlier attempt ended if the store allows it.

        The object appears when it is complete and has this hash, or not at all. An equal object is left as it is.
        """

        def attempt() -> None:
            if not file.is_file():
                raise StoreError(f"There is no file {file}.", kind="permanent")
            if not self._holds(key, file, sha256):
                with self._explained():
                    self._send(key, file, sha256, progress)
                if not self._holds(key, file, sha256):
                    self.delete(key)
                    raise StoreError(f"{self.url}: {key} had other bytes than were uploaded, and was deleted.")

        self._retrying(attempt, progress)

    def stat(self, key: str) -> StoredObject | None:
        """Return the object; None if there is none."""
        with self._explained():
            return self._find(key)

    def get(self, key: str, file: Path, progress: Progress) -> str:
        """Write an object into `file`, which is resumed if it holds a part of it, and return the sha256 of its bytes.

        Raises:
            NoSuchObject: There is none.
        """
        try:
            return self._retrying(lambda: self._receive(key, file, progress), progress)
        except OSError as error:
            raise StoreError(f"{file} cannot be written: {error.strerror}.", kind="permanent") from error

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return a range of an object's bytes: fewer at its end. Raises NoSuchObject."""
        length = min(length, self._size_bytes(key) - start)
        with self._explained():
            return self._range(key, start, length) if length > 0 else b""

    def delete(self, key: str) -> None:
        """Delete an object; one that does not exist is no error."""
        with self._explained():
            self._delete(key)

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with `prefix`; `sha256` may be empty."""
        with self._explained():
            yield from self._list(prefix)

    def _holds(self, key: str, file: Path, sha256: str) -> bool:
        found = self.stat(key)
        return found is not None and (found.size_bytes, found.sha256) == (file.stat().st_size, sha256)

    def _size_bytes(self, key: str) -> int:
        found = self.stat(key)
        if found is None:
            raise NoSuchObject(self.url, key)
        return found.size_bytes

    def _blocks(self, file: Path, sha256: str, progress: Progress) -> Iterator[bytes]:
        """Yield the parts of a file, one without bytes if it is empty.

        The last one is withheld if the file has another hash, so that no upload can be completed with it.
        """
        digest, size = hashlib.sha256(), file.stat().st_size
        with file.open("rb") as opened:
            for start in range(0, size or 1, self.part_bytes):
                if progress.cancelled.is_set():
                    raise FetchCancelled
                digest.update(data := opened.read(self.part_bytes))
                if start + self.part_bytes >= size and digest.hexdigest() != sha256:
                    reason = f"{file.name} was not stored: its bytes do not have the hash {sha256[:12]}…"
                    raise StoreError(reason, "`vidpipe store verify` finds damaged files.", kind="permanent")
                yield data
                progress.on_bytes(start + len(data), size)

    def _receive(self, key: str, file: Path, progress: Progress) -> str:
        size, digest, done = self._size_bytes(key), hashlib.sha256(), 0
        with file.open("a+b") as opened:
            opened.truncate(min(size, opened.tell()))
            opened.seek(0)
            while done < size:
                if progress.cancelled.is_set():
                    raise FetchCancelled
                if not (data := opened.read(self.part_bytes)):
                    with self._explained():
                        opened.write(data := self._range(key, done, min(self.part_bytes, size - done)))
                if not data:
                    raise StoreError(f"{self.url}: {key} ended after {done:,} of {size:,} bytes.")
                digest.update(data)
                done += len(data)
                progress.on_bytes(done, size)
        return digest.hexdigest()

    def _retrying(self, operation: Callable[[], Result], progress: Progress) -> Result:
        def wait(wait_s: float) -> None:
            progress.cancelled.wait(wait_s)

        return _POLICY.retrying(lambda error: getattr(error, "transient", False), sleep=wait)(operation)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _OWN_ERRORS:
            raise
        except Exception as error:
            status, name = fault(error)
            reason, hint, kind = _REASONS.get(status, _OTHER)
            if status in TRANSIENT_STATUS:
                reason, hint, kind = _REASONS[409]
            message = f"{self.url}: {reason} ({name})."
            raise StoreError(message, hint.format(self.access), kind=kind) from None  # it may quote credentials


def fault(error: Any) -> tuple[int, str]:
    """Return the HTTP status of an error of a client library, 0 if there was no response, and what it is called."""
    status, name = getattr(error, "status_code", None) or getattr(error, "code", None), type(error).__name__
    if isinstance(getattr(error, "response", None), dict):  # botocore
        status, name = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"].get("Code", "")
    if isinstance(error, FileNotFoundError) or " LookupError('not_found'" in str(getattr(error, "error", "")):
        return 404, name
    # gcsfs has no class of its own for 403
    if any(word in name for word in _NO_ACCESS) or (type(error) is OSError and not error.errno):
        return 401, name
    if name == "NoSuchUpload":  # another process has completed it
        return 409, name
    status = int(status or 0) if 400 <= int(status or 0) < 600 else 0  # MongoDB has codes of its own
    return 401 if status == 403 else status, getattr(error, "strerror", None) or name


def or_none(request: Callable[[], Result]) -> Result | None:
    """Return the result of a request, or None if its error says that there is no such object."""
    try:
        return request()
    except Exception as error:
        if fault(error)[0] != 404:
            raise
        return None
