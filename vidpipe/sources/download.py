"""Downloads one remote file, with as many attempts as the retry policy allows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import RetryCallState

from vidpipe.network.fetch_errors import FetchCancelled, FetchError
from vidpipe.network.http_response import Validators
from vidpipe.network.retry import RetryPolicy
from vidpipe.settings import Settings
from vidpipe.sources.s3 import SCHEME, S3Clients, S3Remote
from vidpipe.sources.transfer import HttpRemote, RemoteFile, Transfer, TransferResult
from vidpipe.sources.urls import SourceUrl
from vidpipe.storage.media_store import DiskFullError, MediaStore
from vidpipe.storage.partial_file import PartialFile

#: An attempt that downloads this much that no attempt had downloaded before is progress: attempts are counted anew.
PROGRESS_BYTES = 1 << 20


@dataclass(frozen=True)
class Downloaded:
    """A complete file in the store's `incoming`, or the server's statement that the known version is current.

    Attributes:
        part: The file.
        result: What the server sent with it.
    """

    part: PartialFile
    result: TransferResult


def download(
    url: SourceUrl,
    *,
    settings: Settings,
    store: MediaStore,
    cancelled: threading.Event,
    clients: S3Clients | None = None,
    known: Validators | None = None,
    on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
    on_attempt: Callable[[], None] = lambda: None,
) -> Downloaded:
    """Download `url`, resuming what an earlier, broken or killed run left. Hold `store.hold(url.id)` meanwhile.

    The partial file is kept for the next run if the download is cancelled or may succeed later. After other errors, and
    if the disk is full, it is deleted.

    Args:
        url: http(s) or s3, canonical.
        settings: Those in force.
        store: The media store.
        cancelled: Stops the download once it is set.
        clients: For s3, if several downloads share them.
        known: The known version: the server is asked only for another one, and may answer that there is none.
        on_bytes: Called with (bytes so far, bytes in all or None).
        on_attempt: Called before each attempt.

    Raises:
        FetchError: The file could not be downloaded.
        UnavailableError: Something needed for the request is missing.
        FetchCancelled: `cancelled` was set.
    """
    limits = settings.download
    part = PartialFile(store.incoming, url.id)
    is_s3 = url.reveal().startswith(SCHEME)
    remote: RemoteFile = S3Remote(url, clients or S3Clients(limits)) if is_s3 else HttpRemote(url)
    transfer = Transfer(
        remote, settings=limits, part=part, reservations=store.reservations, on_bytes=on_bytes, cancelled=cancelled
    )
    furthest = 0

    def attempt() -> TransferResult:
        on_attempt()
        return transfer.attempt(known)

    def count_progress(state: RetryCallState) -> None:
        nonlocal furthest
        if part.size - furthest >= PROGRESS_BYTES:
            state.attempt_number = 1
        furthest = max(furthest, part.size)

    def wait(seconds: float) -> None:
        if cancelled.wait(seconds):
            raise FetchCancelled

    def give_up(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        assert isinstance(error, FetchError)  # noqa: S101  (`_is_retried`)
        if state.attempt_number > max(1, limits.retries):  # otherwise the server asked to wait for too long
            error.reworded(f"{error.message.rstrip('.')} ({state.attempt_number} attempts).")
        raise error

    policy = RetryPolicy(limits.retries + 1, limits.backoff, limits.max_wait, give_up_beyond_max_wait=True)
    retrying = policy.retrying(_is_retried, sleep=wait, after_failure=count_progress, on_give_up=give_up)
    try:
        part.open(cancelled)
        furthest = part.size
        result = retrying(attempt)
        part.close()
        return Downloaded(part, result)
    except FetchError as error:
        if isinstance(error, DiskFullError) and error.needed_bytes is not None:
            error.needed_bytes += part.size  # what is deleted has to be written again
        if not _is_retried(error):
            part.discard()
        raise
    finally:
        part.close()
        store.reservations.release(part.path.name)
        transfer.close()


def _is_retried(error: BaseException) -> bool:
    return isinstance(error, FetchError) and error.transient and not isinstance(error, DiskFullError)
