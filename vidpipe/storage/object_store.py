"""What stores hold, and their errors. A store holds objects under keys; it knows nothing of videos.

    media/ab/abcdef….mp4              a video, under the hash of its bytes
    packs/<sha256>/<version>.tar      a frame pack with its thumbnails

Stores are configured by the operator and therefore exempt from the address policy.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from vidpipe.network.fetch_errors import FaultKind, FetchError

LOCAL = "local"
#: In place of a store: the file was deleted on purpose ([Storage] KeepOriginals), and its results are kept.
DROPPED = "dropped"


class StoreError(FetchError):
    """A store cannot be reached, rejects a request, or holds other bytes than it should."""

    exit_code = 3

    def __init__(self, message: str, hint: str = "", *, kind: FaultKind = "transient") -> None:
        super().__init__(message, hint, kind=kind, depends_on=("storage.media",))


class NoSuchObject(StoreError):
    """There is no object with this key."""

    def __init__(self, store: str, key: str) -> None:
        super().__init__(
            f"There is no {key} in the store {store}.", "`vidpipe store verify` finds all that is missing.",
            kind="permanent",
        )  # fmt: skip


@dataclass(frozen=True)
class StoredObject:
    """An object of a store.

    Attributes:
        key: Its key.
        size_bytes: Its size.
        sha256: Hash of its bytes as stated when it was stored; empty if the store does not keep it.
        modified_at: When it was stored, UTC.
    """

    key: str
    size_bytes: int
    sha256: str = ""
    modified_at: datetime | None = None


@dataclass(frozen=True)
class Progress:
    """How a transfer is followed and stopped.

    Attributes:
        on_bytes: Called with (bytes so far, bytes in all).
        cancelled: Stops the transfer with `FetchCancelled` once it is set.
    """

    on_bytes: Callable[[int, int], None] = lambda done, total: None
    cancelled: threading.Event = field(default_factory=threading.Event)


def media_key(sha256: str, suffix: str) -> str:
    """Return the key of a video's file."""
    return f"media/{sha256[:2]}/{sha256}{suffix}"


def pack_key(sha256: str, version: str) -> str:
    """Return the key of a frame pack."""
    return f"packs/{sha256}/{version}.tar"
