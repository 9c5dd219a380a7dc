"""Exports of a selection."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from vidpipe.library.queries.export import export
from vidpipe.safe_files import private_directory
from vidpipe.settings import audit
from vidpipe.stages.registry import enabled_analyses
from vidpipe.web.access import Reader
from vidpipe.web.home import Searchable
from vidpipe.web.problems import RequestError
from vidpipe.web.selection import MAX_LIMIT, Selected, Sha256

router = APIRouter(tags=["exports"])

ExportFormat = Literal["csv", "jsonl", "parquet"]
_MEDIA_TYPES: dict[ExportFormat, str] = {
    "csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet",
}  # fmt: skip
_FILE: dict[str, Any] = {"content": {kind: {} for kind in _MEDIA_TYPES.values()}, "description": "The file."}
_CHUNK_BYTES = 1 << 18
#: Exports that are written at once; each takes a thread, of which the server has 40.
_TURNS = threading.BoundedSemaphore(4)


@contextmanager
def _turn() -> Iterator[None]:
    if not _TURNS.acquire(blocking=False):
        raise RequestError(429, "Too many exports are being written.", "Try again in a moment.", {"Retry-After": "10"})
    try:
        yield
    finally:
        _TURNS.release()


@router.get("/exports", response_class=StreamingResponse, responses={200: _FILE})
def export_videos(
    opened: Searchable,
    selected: Selected,
    caller: Reader,
    *,
    file_format: Annotated[ExportFormat, Query(alias="format", description="Format of the file.")] = "csv",
    scenes: Annotated[bool, Query(description="csv and parquet: a row is a scene instead of a video.")] = False,
    videos: Annotated[
        list[Sha256] | None, Query(alias="video", max_length=MAX_LIMIT, description="Only this video; repeatable.")
    ] = None,
) -> StreamingResponse:
    """Download all videos that `q` and the filters find, or those named. Every word must match; the page is ignored."""
    with _turn():
        asked = selected.q.strip() or selected.filters
        ids = opened.engine.ids(selected.q, selected.filters) if asked else None
        if videos is not None:
            ids = sorted({*videos} if ids is None else {*videos}.intersection(ids))
        directory = opened.settings.data_directory / "run" / "exports"
        private_directory(directory)
        with TemporaryDirectory(dir=directory) as folder:
            path = Path(folder) / f"export.{file_format}"
            done = export(
                opened.library, path, file_format, opened.plan.specs, ids=ids, scenes=scenes,
                analyses=enabled_analyses(opened.settings),
            )  # fmt: skip
            file = path.open("rb")  # its space is freed when it is closed
            size_bytes = path.stat().st_size
    audit("export", by=caller.name, format=file_format, videos=done.videos, rows=done.rows, scenes=done.scenes)
    name = f"vidpipe-{'scenes' if done.scenes else 'videos'}-{datetime.now(UTC):%Y%m%d-%H%M%S}.{file_format}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(size_bytes)}
    return StreamingResponse(_chunks(file), media_type=_MEDIA_TYPES[file_format], headers=headers)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
