"""The bytes of one remote file, with as many attempts as it takes and may take."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from vidpipe.ingest.faults import DiskFullError, FetchCancelled, FetchError
from vidpipe.ingest.partial import PartialFile, Validators
from vidpipe.ingest.remotes import HttpRemote, Remote
from vidpipe.ingest.s3 import SCHEME, Buckets, S3Remote
from vidpipe.ingest.store import MediaStore
from vidpipe.ingest.transfer import Answer, Transfer
from vidpipe.settings import Settings

#: An attempt that brought this much that no attempt had brought before is progress: the count of attempts starts anew.
PROGRESS_BYTES = 1 << 20


@dataclass(frozen=True)
class Downloaded:
    """A whole file in the store's `incoming`, or the word of the server that the known version is still the one."""

    part: PartialFile
    sha256: str
    size_bytes: int
    answer: Answer

    @property
    def unchanged(self) -> bool:
        return self.answer.unchanged


def download(
    url: str,
    source_id: str,
    *,
    settings: Settings,
    store: MediaStore,
    cancelled: threading.Event,
    buckets: Buckets | None = None,
    known: Validators | None = None,
    on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
    on_attempt: Callable[[], None] = lambda: None,
) -> Downloaded:
    """Fetches `url`, going on with what an earlier, broken or killed run left. Hold `store.hold(source_id)`
    meanwhile.

    url:     http(s) or s3, canonical
    buckets: for s3, where several downloads share one; else a new one is used
    known:   the version known already: the server is asked for another one only, and may answer that there is none.
    Errors: FetchError; UnavailableError; FetchCancelled, where the partial file stays for the next run. It also stays
    after faults that another run may get over; after all others, and where the disk is full, it is removed.
    """
    limits = settings.download
    part = PartialFile(store.incoming, source_id)
    remote: Remote = S3Remote(url, buckets or Buckets(limits)) if url.startswith(SCHEME) else HttpRemote(url)
    transfer = Transfer(remote, settings=limits, part=part, room=store.room, on_bytes=on_bytes, cancelled=cancelled)
    tries, furthest = 0, 0
    try:
        part.open(cancelled)
        furthest = part.size
        while True:
            on_attempt()
            try:
                answer = transfer.attempt(known)
                part.close()
                return Downloaded(part, part.sha256(), part.size, answer)
            except FetchError as error:
                if not error.transient or isinstance(error, DiskFullError):
                    raise
                if part.size - furthest >= PROGRESS_BYTES:
                    tries = 0
                furthest = max(furthest, part.size)
                tries += 1
                if tries > limits.retries:
                    raise _given_up(error, tries) from error
                wait_s = pause_s(tries, limits.backoff, limits.max_wait, error.retry_after_s)
                if wait_s > limits.max_wait:
                    raise error  # the caller comes back when the server wants to be asked again
            if cancelled.wait(wait_s):
                raise FetchCancelled
    except FetchError as error:
        if isinstance(error, DiskFullError) and error.needed_bytes is not None:
            error.needed_bytes += part.size  # what is discarded has to be written again
        if not error.transient or isinstance(error, DiskFullError):
            part.discard()
        raise
    finally:
        part.close()
        store.room.release(part.path.name)
        transfer.close()


def _given_up(error: FetchError, tries: int) -> FetchError:
    if tries < 2:
        return error
    return error.reworded(f"{error.message.rstrip('.')}, {tries} times in a row.")


def pause_s(tries: int, backoff_s: float, max_wait_s: float, retry_after_s: float | None) -> float:
    """Seconds before the next attempt after `tries` faults in a row.

    Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", 2015): anything up to
    backoff * 2^(tries - 1), at most `max_wait_s`. A Retry-After is kept to, and may be longer than `max_wait_s`: the
    caller then gives up for now. A little is added to it, so that not all who were told the same come at once.
    """
    if retry_after_s is not None:
        if retry_after_s > max_wait_s:
            return retry_after_s
        return min(max_wait_s, retry_after_s + random.uniform(0, min(1.0, backoff_s)))  # noqa: S311 - no secret
    return random.uniform(0, min(max_wait_s, backoff_s * 2.0 ** min(tries - 1, 30)))  # noqa: S311 - no secret
