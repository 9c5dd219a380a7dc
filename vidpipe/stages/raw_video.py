"""raw_video: the stored file is there and holds the bytes its name says; a lost one is fetched again.

Size and modification time are compared, which costs a stat; the bytes are hashed where the time differs, or on request
(`verify_hash`). The stage reads the video's URLs, because they say where a lost file comes from: a further source makes
it due, which costs that one stat and, as the content stays the same, nothing after it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidpipe.errors import VidpipeError
from vidpipe.ingest.faults import FetchCancelled, FetchError
from vidpipe.ingest.partial import hash_file
from vidpipe.settings import Settings
from vidpipe.settings.stored_paths import text_path
from vidpipe.stages.contract import Cancelled, Item, Outcome, Stage, StageContext, StageError, StageResult
from vidpipe.stages.results import RawVideo


@dataclass(frozen=True)
class _Known:
    """A file that held the right bytes when it had this size and time."""

    path: str
    size_bytes: int
    modified_ns: int


def check_files(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    """Looks for each video's file; fetches it again where it is lost or changed."""
    for item in items:
        if context.cancelled.is_set():
            raise Cancelled
        try:
            yield Outcome(item.sha256, result=_check(item, context))
        except StageError as error:
            yield Outcome(item.sha256, error=error)


def _check(item: Item, context: StageContext) -> RawVideo:
    problems: list[str] = []
    for known in _known_files(item):
        path, shown = context.settings.resolve(known.path), text_path(known.path)
        try:
            stat = path.stat()
            if stat.st_size != known.size_bytes:
                problems.append(f"{shown} has {stat.st_size} bytes instead of {known.size_bytes}")
            elif stat.st_mtime_ns == known.modified_ns:
                return _result(item, known.path, stat, verified="size and time")
            elif _holds(path, item.sha256, context):
                return _result(item, known.path, stat, verified="hash")
            else:
                problems.append(f"{shown} holds other bytes than when it was added")
        except OSError as error:
            problems.append(f"{shown} cannot be read ({error.strerror or error})")
    return _fetch_again(item, context, "; ".join(dict.fromkeys(problems)))


def _known_files(item: Item) -> list[_Known]:
    """Where the file may lie: as this stage saw it last (perhaps fetched again since), then as ingest stored it."""
    known = [_Known(item["ingest.path"], item["ingest.size_bytes"], item["ingest.modified_ns"])]
    if isinstance(item.previous, RawVideo):
        last = item.previous
        known.insert(0, _Known(last.path, last.size_bytes, last.modified_ns))
        if last.path == known[1].path:
            known.pop()
    return known


def _result(
    item: Item,
    path: str,
    stat: os.stat_result,
    *,
    verified: Literal["size and time", "hash"],
    refetched_from: str | None = None,
) -> RawVideo:
    return RawVideo(
        content=item.sha256,
        path=path,
        size_bytes=stat.st_size,
        modified_ns=stat.st_mtime_ns,
        verified=verified,
        refetched_from=refetched_from,
    )


def _holds(path: Path, sha256: str, context: StageContext) -> bool:
    return _hash(path, context.cancelled, lambda fraction: context.progress(sha256, fraction)) == sha256


def _fetch_again(item: Item, context: StageContext, problems: str) -> RawVideo:
    # it brings requests, which no run without a lost file has to load
    from vidpipe.ingest.refetch import refetch

    urls: Sequence[str] = item["ingest.urls"]
    if not urls:
        raise StageError(f"{problems}, and no source is known to fetch it from.", _HINT)

    def on_bytes(done: int, total: int | None) -> None:
        if total:
            context.progress(item.sha256, min(1.0, done / total))

    try:
        stored, url = refetch(context.settings, item.sha256, urls, cancelled=context.cancelled, on_bytes=on_bytes)
    except FetchCancelled:
        raise Cancelled from None
    except VidpipeError as error:
        transient = isinstance(error, FetchError) and error.transient
        raise StageError(f"{problems}. {error.message}", error.hint or _HINT, transient=transient) from error
    path = context.settings.relative(stored.path)
    return _result(item, path, stored.path.stat(), verified="hash", refetched_from=url)


_HINT = "Put the file back, or add the video again from a source that has it: vidpipe add URL-OR-FILE."


def verify_hash(
    settings: Settings,
    path: str,
    sha256: str,
    *,
    cancelled: threading.Event | None = None,
    progress: Callable[[float], None] | None = None,
) -> bool:
    """Whether the stored file at `path` (relative to the home, or absolute) still has its hash; reads all of it.

    progress: told the share that is read. Raises StageError where the file cannot be read, Cancelled.
    """
    try:
        return _hash(settings.resolve(path), cancelled or threading.Event(), progress or (lambda share: None)) == sha256
    except OSError as error:
        raise StageError(f"The stored file {path} cannot be read ({error.strerror or error}).", _HINT) from error


def _hash(path: Path, cancelled: threading.Event, progress: Callable[[float], None]) -> str:
    size_bytes = max(1, path.stat().st_size)
    try:
        digest, _ = hash_file(path, cancelled, lambda done: progress(min(1.0, done / size_bytes)))
    except FetchCancelled:
        raise Cancelled from None
    return digest.hexdigest()


def _artifacts_exist(result: StageResult, settings: Settings) -> bool:
    assert isinstance(result, RawVideo)  # noqa: S101  (the contract: the stage's own result)
    try:
        stat = os.stat(settings.resolve(result.path))
    except OSError:
        return False
    return stat.st_size == result.size_bytes and stat.st_mtime_ns == result.modified_ns


STAGE = Stage(
    name="raw_video",
    job="prepare",
    description="The stored file, checked by size and time; fetched again from a known source where it is lost.",
    result=RawVideo,
    function=check_files,
    reads=("ingest.path", "ingest.size_bytes", "ingest.modified_ns", "ingest.urls"),
    environment=("download", "limits", "lists", "paths"),
    pool="network",
    kinds=("file",),
    reads_previous=True,
    artifacts_exist=_artifacts_exist,
)
