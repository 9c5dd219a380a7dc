"""Fetches a stored file that was lost or damaged again from a source of its video."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from vidpipe.errors import MediaError, UnavailableError, VidpipeError
from vidpipe.network.fetch_errors import FetchError
from vidpipe.redaction import MASK
from vidpipe.settings import Settings
from vidpipe.sources.download import download
from vidpipe.sources.inputs import SourceRequest, request_for
from vidpipe.sources.local_files import OnBytes, add_local_file
from vidpipe.sources.urls import scrub
from vidpipe.storage.media_store import MediaStore, StoredFile, hash_file


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
            reasons.append(scrub(str(error.about(url)), url))
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
            _check_hash(request.path, sha256, cancelled)
            return add_local_file(
                request.path, request.id, mode="copy", store=store, cancelled=cancelled, on_bytes=on_bytes, replace=True
            )[0]
        part = download(request.url, settings=settings, store=store, cancelled=cancelled, on_bytes=on_bytes).part
        try:
            if part.sha256() != sha256:
                raise _other_bytes(str(request.url), part.sha256())
            file = store.enter(part.path, sha256, name=str(request.url), replace=True)
        except (MediaError, FetchError):
            part.discard()
            raise
        part.forget()
        return file


def _check_hash(path: Path, sha256: str, cancelled: threading.Event) -> None:
    """Hash the file in place: other bytes must not enter the store."""
    try:
        found = hash_file(path, cancelled)[0].hexdigest()
    except OSError as error:
        raise FetchError(f"{path} cannot be read: {error.strerror or error}.") from error
    if found != sha256:
        raise _other_bytes(str(path), found)


def _other_bytes(name: str, found: str) -> FetchError:
    return FetchError(f"{name}: the content has changed (sha256 {found[:12]}).")
