"""raw_video: checks that the stored file is there and holds the bytes its name says; fetches a lost one again.

Size and modification time are compared, which costs a stat; the bytes are hashed if the time differs. The stage reads
the video's URLs, because a lost file is fetched from them: another source makes the stage due, which costs that one
stat and, as the content stays the same, nothing after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from vidpipe.errors import VidpipeError
from vidpipe.network.fetch_errors import FetchCancelled, FetchError
from vidpipe.safe_files import text_path
from vidpipe.settings import Settings
from vidpipe.sources.media_store import hash_file
from vidpipe.stages.contract import Cancelled, Item, Outcome, Stage, StageContext, StageError, StageResult
from vidpipe.stages.results import RawVideo

_HINT = "Put the file back, or add the video again from a source that has it: vidpipe add URL-OR-FILE."


class _KnownFile(NamedTuple):
    """A file that held the right bytes when it had this size and time."""

    path: str
    size_bytes: int
    modified_ns: int


def check_files(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    """Check each video's file; fetch it again if it is lost or changed.

    Raises:
        Cancelled: The run was stopped.
    """
    for item in items:
        if context.cancelled.is_set():
            raise Cancelled
        try:
            yield Outcome(item.sha256, result=_check(item, context))
        except StageError as error:
            yield Outcome(item.sha256, error=error)
        except FetchCancelled:
            raise Cancelled from None


def _check(item: Item, context: StageContext) -> RawVideo:
    problems: list[str] = []
    for known in _known_files(item):
        path, shown = context.settings.resolve(known.path), text_path(known.path)
        try:
            stat = path.stat()
            if stat.st_size != known.size_bytes:
                problems.append(f"{shown} has {stat.st_size} bytes instead of {known.size_bytes}")
                continue
            if stat.st_mtime_ns == known.modified_ns:
                return _result(item, known.path, stat, verified="size and time")
            if _hash(path, item, context) == item.sha256:
                return _result(item, known.path, stat, verified="hash")
            problems.append(f"{shown} has other bytes than when it was added")
        except OSError as error:
            problems.append(f"{shown} cannot be read ({error.strerror or error})")
    return _fetch_again(item, context, "; ".join(dict.fromkeys(problems)))


def _hash(path: Path, item: Item, context: StageContext) -> str:
    size_bytes = max(1, path.stat().st_size)
    return hash_file(path, context.cancelled, lambda done: context.progress(item.sha256, min(1.0, done / size_bytes)))[
        0
    ]


def _known_files(item: Item) -> list[_KnownFile]:
    """Return where the file may be: as this stage saw it last (perhaps fetched again since), then as it was added."""
    known = [_KnownFile(item["ingest.path"], item["ingest.size_bytes"], item["ingest.modified_ns"])]
    if isinstance(item.previous, RawVideo):
        last = item.previous
        known.insert(0, _KnownFile(last.path, last.size_bytes, last.modified_ns))
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


def _fetch_again(item: Item, context: StageContext, problems: str) -> RawVideo:
    # it brings requests, which no run without a lost file has to load
    from vidpipe.sources.download import refetch

    urls: Sequence[str] = item["ingest.urls"]
    if not urls:
        raise StageError(f"{problems}, and no source is known to fetch it from.", _HINT)

    def on_bytes(done: int, total: int | None) -> None:
        if total:
            context.progress(item.sha256, min(1.0, done / total))

    try:
        stored, url = refetch(context.settings, item.sha256, urls, cancelled=context.cancelled, on_bytes=on_bytes)
    except VidpipeError as error:
        transient = isinstance(error, FetchError) and error.transient
        raise StageError(f"{problems}. {error.message}", error.hint or _HINT, transient=transient) from error
    path = context.settings.relative(stored.path)
    return _result(item, path, stored.path.stat(), verified="hash", refetched_from=url)


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
