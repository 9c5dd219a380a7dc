"""raw_video: checks that the stored file is there and holds the bytes its name says; fetches a lost one again.

Size and modification time are compared, which costs a stat; the bytes are hashed if the time differs. A file that is
not on this disk is asked for in its store, which has checked its bytes; a dropped one is not missed. The stage reads
the video's URLs, because a lost file is fetched from them: another source makes the stage due, which costs that one
stat and, as the content stays the same, nothing after it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidpipe.errors import VidpipeError
from vidpipe.network.fetch_errors import FetchError
from vidpipe.safe_files import text_path
from vidpipe.settings import Settings
from vidpipe.stages.contract import Item, Stage, StageContext, StageError, StageResult, per_video
from vidpipe.stages.results import RawVideo
from vidpipe.storage.object_store import DROPPED

_HINT = "Put the file back, or add the video again from a source that has it: vidpipe add URL-OR-FILE."


@per_video
def check_files(item: Item, context: StageContext) -> RawVideo:
    """Check the video's file; fetch it again if it is lost or changed.

    Raises:
        StageError: The file is lost and cannot be fetched.
        Cancelled: The run was stopped.
    """
    problems: list[str] = []
    for name, size_bytes, modified_ns in _known_files(item):
        path, shown = context.settings.resolve(name), text_path(name)
        try:
            stat = path.stat()
            if stat.st_size != size_bytes:
                problems.append(f"{shown} has {stat.st_size} bytes instead of {size_bytes}")
                continue
            if stat.st_mtime_ns == modified_ns:
                return _result(item, name, stat, verified="size and time")
            if _hash(path, item, context) == item.sha256:
                return _result(item, name, stat)
            problems.append(f"{shown} has other bytes than when it was added")
        except OSError as error:
            elsewhere = context.files.stored(item.sha256, name)
            dropped = context.files.store_of(item.sha256) == DROPPED
            if dropped or (elsewhere and elsewhere.size_bytes == size_bytes):
                return RawVideo(content=item.sha256, path=name, size_bytes=size_bytes, modified_ns=modified_ns)
            problems.append(f"{shown} cannot be read ({error.strerror or error})")
    return _fetch_again(item, context, "; ".join(dict.fromkeys(problems)))


def _hash(path: Path, item: Item, context: StageContext) -> str:
    from vidpipe.sources.media_store import hash_file  # imports the fetched formats, needed only for a changed file

    size_bytes = max(1, path.stat().st_size)
    return hash_file(path, context.cancelled, lambda done: context.progress(item.sha256, min(1.0, done / size_bytes)))[
        0
    ]


def _known_files(item: Item) -> list[tuple[str, int, int]]:
    """Return (path, size, modification time) with which the file held the right bytes.

    First as this stage saw it last (perhaps fetched again since), then as it was added.
    """
    added = (item["ingest.path"], item["ingest.size_bytes"], item["ingest.modified_ns"])
    last = item.previous
    if not isinstance(last, RawVideo):
        return [added]
    seen = (last.path, last.size_bytes, last.modified_ns)
    return [seen] if last.path == added[0] else [seen, added]


def _result(item: Item, path: str, stat: os.stat_result, **more: Any) -> RawVideo:
    facts = {"verified": "hash", "size_bytes": stat.st_size, "modified_ns": stat.st_mtime_ns, **more}
    return RawVideo.model_validate({"content": item.sha256, "path": path, **facts})


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
        result = _result(item, context.settings.relative(stored.path), stored.path.stat(), refetched_from=url)
        context.files.keep_video(item.sha256, stored.path, context.cancelled)
        return result
    except VidpipeError as error:
        transient = isinstance(error, FetchError) and error.transient
        raise StageError(f"{problems}. {error.message}", error.hint or _HINT, transient=transient) from error


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
