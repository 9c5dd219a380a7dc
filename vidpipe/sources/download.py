"""Fetches one remote file, with as many attempts as the retry policy allows; fetches lost files again."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from tenacity import RetryCallState

from vidpipe.errors import MediaError, UnavailableError, VidpipeError
from vidpipe.network.fetch_errors import FetchCancelled, FetchError
from vidpipe.network.http_response import Validators
from vidpipe.network.retry import RetryPolicy
from vidpipe.redaction import MASK
from vidpipe.settings import Settings
from vidpipe.sources.fetchers.fetcher import FetchTask, TransferResult
from vidpipe.sources.fetchers.registry import Fetchers
from vidpipe.sources.local_files import OnBytes, add_local_file
from vidpipe.sources.media_store import DiskFullError, MediaStore, StoredFile, hash_file
from vidpipe.sources.partial_file import PartialFile
from vidpipe.sources.source_request import SourceRequest, request_for
from vidpipe.sources.urls import SourceUrl, scrub

#: An attempt that downloads this many new bytes has made progress: the count of attempts is reset.
PROGRESS_BYTES = 1 << 20


def download(
    url: SourceUrl,
    *,
    settings: Settings,
    store: MediaStore,
    cancelled: threading.Event,
    fetchers: Fetchers | None = None,
    known: Validators | None = None,
    chosen: str = "",
    on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
    on_attempt: Callable[[], None] = lambda: None,
) -> tuple[PartialFile, TransferResult]:
    """Download `url`, resuming what an earlier, broken or killed run left. Hold `store.hold(url.id)` meanwhile.

    The partial file is kept for the next run if the download is cancelled or may succeed later. After other errors, and
    if the disk is full, it is deleted.

    Args:
        url: Canonical.
        settings: Those in force.
        store: The media store.
        cancelled: Stops the download once it is set.
        fetchers: If several downloads share them.
        known: The known version: the server is asked only for another one, and may answer that there is none.
        chosen: Of a page: which of its videos the known version is.
        on_bytes: Called with (bytes so far, bytes in all or None).
        on_attempt: Called before each attempt.

    Returns:
        The complete file in the store's `incoming`, and what the server sent with it.

    Raises:
        FetchError: The file could not be downloaded.
        UnavailableError: Something needed for the request is missing.
        FetchCancelled: `cancelled` was set.
    """
    limits = settings.download
    part = PartialFile(store.incoming, url.id)
    fetchers = fetchers or Fetchers(settings)
    task = FetchTask(url, settings, part, store.reservations, on_bytes, cancelled, fetchers.of_kind, chosen)
    transfer = fetchers.of(url.reveal()).open(task)
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
        return part, retrying(attempt)
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


def refetch(
    settings: Settings,
    sha256: str,
    urls: Sequence[str],
    *,
    cancelled: threading.Event | None = None,
    on_bytes: OnBytes = lambda done, total: None,
) -> tuple[StoredFile, str]:
    """Fetch a file again from the first of `urls` that still gives its bytes, and replace it in the store.

    A URL whose secret is not stored cannot be used here; adding it again, or the list that contains it, fetches the
    file.

    Args:
        settings: Those in force.
        sha256: Hash that the bytes must have.
        urls: The video's sources as they are stored, without secrets.
        cancelled: Stops the work once it is set.
        on_bytes: Called with the progress.

    Returns:
        The stored file, and the URL that gave it.

    Raises:
        FetchError: No source gave these bytes. The message has the reason for each; it is transient if at least one of
            them may succeed later.
        FetchCancelled: `cancelled` was set.
    """
    cancelled = cancelled or threading.Event()
    store = MediaStore(settings)
    reasons: list[str] = []
    transient = False
    for url in urls:
        if MASK in url:
            reasons.append(
                f"{url}: the URL contains a secret, which is not stored; run `vidpipe add` with the full URL, or with "
                "the list that contains it."
            )
            continue
        try:
            request = request_for(url)
            file = _refetch(request, sha256, store, settings=settings, cancelled=cancelled, on_bytes=on_bytes)
            return file, url
        except VidpipeError as error:
            as_of = (
                f" (as of {datetime.now().astimezone():%Y-%m-%d})"
                if isinstance(error, FetchError) and error.gone
                else ""
            )
            reasons.append(scrub(f"{error.about(url)}{as_of}", url))
            transient |= error.transient if isinstance(error, FetchError) else isinstance(error, UnavailableError)
    raise FetchError(
        f"The file of video {sha256[:12]} could not be fetched again. {' '.join(reasons) or 'It has no known source.'}",
        "Add the video again from another source.",
        kind="transient" if transient else "permanent",
    )


def _refetch(
    request: SourceRequest,
    sha256: str,
    store: MediaStore,
    *,
    settings: Settings,
    cancelled: threading.Event,
    on_bytes: OnBytes,
) -> StoredFile:
    with store.hold(request.id, cancelled):
        if request.path is not None:
            try:  # in place: other bytes must not enter the store
                found, _ = hash_file(request.path, cancelled)
            except OSError as error:
                raise FetchError(f"{request.path} cannot be read: {error.strerror or error}.") from error
            _check_hash(request.path, found, sha256)
            return add_local_file(
                request.path, request.id, mode="copy", store=store, cancelled=cancelled, on_bytes=on_bytes, replace=True
            )[0]
        part, _ = download(request.url, settings=settings, store=store, cancelled=cancelled, on_bytes=on_bytes)
        try:
            _check_hash(request.url, part.sha256(), sha256)
            file = store.enter(part.path, sha256, name=str(request.url), replace=True)
        except (MediaError, FetchError):
            part.discard()
            raise
        part.forget()
        return file


def _check_hash(place: Path | SourceUrl, found: str, expected: str) -> None:
    if found != expected:
        raise FetchError(f"{place}: the content has changed (sha256 {found[:12]}).")
