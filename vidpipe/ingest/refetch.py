"""A stored file that got lost or damaged is fetched again from where it came."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from vidpipe.errors import MediaError, UnavailableError, VidpipeError
from vidpipe.ingest.download import download
from vidpipe.ingest.faults import FetchError
from vidpipe.ingest.local import OnBytes, take_local
from vidpipe.ingest.partial import hash_file
from vidpipe.ingest.sources import request_for
from vidpipe.ingest.store import MediaStore, StoredFile
from vidpipe.ingest.urls import redacted_url, scrub
from vidpipe.ingest.watch.addresses import watched_addresses
from vidpipe.redaction import MASK
from vidpipe.settings import Settings


def refetch(
    settings: Settings,
    sha256: str,
    urls: Sequence[str],
    *,
    cancelled: threading.Event | None = None,
    on_bytes: OnBytes = lambda done, total: None,
) -> tuple[StoredFile, str]:
    """(the stored file, the URL that gave it): the first of `urls` whose bytes have this very hash.

    urls: of the video's sources as they are stored, without secrets; where one held a secret, the full URL is looked
          for in the watched list. What lies in the store under the hash is replaced.
    Errors: FetchError that tells what each source said, transient where at least one may answer later;
    vidpipe.ingest.faults.FetchCancelled.
    """
    cancelled = cancelled or threading.Event()
    store = MediaStore(settings)
    said: list[str] = []
    transient = False
    for url in urls:
        addresses = [url]
        if MASK in url:
            addresses = watched_addresses(settings).get(url, [])
            if not addresses:
                said.append(f"{url}: it held a secret, which is not stored; add it again with the full URL.")
        for address in addresses:
            try:
                file = _from(address, sha256, store, settings=settings, cancelled=cancelled, on_bytes=on_bytes)
                return file, redacted_url(address)
            except VidpipeError as error:
                said.append(scrub(str(error.about(url)), address))
                transient |= error.transient if isinstance(error, FetchError) else isinstance(error, UnavailableError)
    sentences = " ".join(said) or "It has no known source."
    raise FetchError(
        f"The file of video {sha256[:12]} could not be fetched again. {sentences}",
        "Add the video again from another source.",
        kind="transient" if transient else "permanent",
    )


def _from(
    address: str,
    sha256: str,
    store: MediaStore,
    *,
    settings: Settings,
    cancelled: threading.Event,
    on_bytes: OnBytes,
) -> StoredFile:
    request = request_for(address)
    with store.hold(request.id, cancelled):
        if request.path is not None:
            _check_file(request.path, sha256, cancelled)
            return take_local(
                request.path, request.id, mode="copy", store=store, cancelled=cancelled, on_bytes=on_bytes, replace=True
            )[0]
        got = download(
            request.address, request.id, settings=settings, store=store, cancelled=cancelled, on_bytes=on_bytes
        )
        try:
            if got.sha256 != sha256:
                raise _other_bytes(request.url, got.sha256)
            file = store.enter(got.part.path, sha256, name=request.url, replace=True)
        except (MediaError, FetchError):
            got.part.discard()
            raise
        got.part.forget()
        return file


def _check_file(path: Path, sha256: str, cancelled: threading.Event) -> None:
    """Hashed in place: other bytes than those asked for must not enter the store."""
    try:
        found = hash_file(path, cancelled)[0].hexdigest()
    except OSError as error:
        raise FetchError(f"{path} cannot be read: {error.strerror or error}.") from error
    if found != sha256:
        raise _other_bytes(str(path), found)


def _other_bytes(name: str, found: str) -> FetchError:
    return FetchError(f"{name}: gives other bytes now (sha256 {found[:12]}).")
