"""Exports: one JSON file a video, one JSON line a video, or a flat table in CSV or Parquet.

Videos come in the order of their hashes and in batches, so that memory does not grow with the library. A file appears
whole or not at all: it is written beside its place and then renamed.

CSV is for spreadsheets, and spreadsheets run text that begins with = + - @ (or a tab) as a formula. Names, titles and
descriptions are somebody else's, so such a text gets a ' before it. Parquet and JSON hold every text as it is.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.library.as_json import to_json
from vidpipe.library.library import Library
from vidpipe.library.schema import Document
from vidpipe.library.search import Filters, query_of
from vidpipe.library.show import views
from vidpipe.safe_files import check_replaceable

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["json", "jsonl", "csv", "parquet"]

_BATCH = 100
_SUFFIXES: Mapping[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_FORMULA = re.compile(r"^[\s\0]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")

#: column -> type. Lists are lists in Parquet and joined by "; " in CSV.
_VIDEO_COLUMNS = {
    "video": "text", "name": "text", "names": "texts", "urls": "texts", "path": "text", "added_at": "time",
    "state": "text", "title": "text", "titles": "texts", "file_title": "text", "labels": "texts",
    "duration_s": "number", "size_bytes": "whole", "bit_rate": "whole", "container": "text", "video_codec": "text",
    "width": "whole", "height": "whole", "resolution": "text", "orientation": "text", "frame_rate": "number",
    "frame_count": "whole", "hdr": "text", "audio_streams": "whole", "subtitle_streams": "whole", "scenes": "whole",
    "cuts_per_minute": "number", "brightness": "number", "contrast": "number", "saturation": "number",
    "motion": "number", "loudness_db": "number", "silence_share": "number", "damage": "text", "description": "text",
    "described_by": "text", "sentiment": "text", "sentiment_score": "number", "sentiment_reason": "text",
    "summary": "text", "keywords": "texts", "tags": "texts", "ai_generated_tags": "texts", "category": "text",
    "category_score": "number", "proposed_category": "text", "answers": "text", "errors": "texts",
}  # fmt: skip
_SCENE_COLUMNS = {
    "video": "text", "name": "text", "path": "text", "title": "text", "labels": "texts", "tags": "texts",
    "category": "text", "index": "whole", "start_s": "number", "end_s": "number", "start_frame": "whole",
    "end_frame": "whole", "thumbnail": "text", "description": "text", "described_by": "text", "brightness": "number",
    "contrast": "number", "saturation": "number", "motion": "number", "loudness_db": "number",
    "silence_share": "number", "colors": "texts", "answers": "text",
}  # fmt: skip
_OF_THE_VIDEO = ("name", "names", "urls", "path", "added_at", "state", "title", "titles", "labels", "size_bytes")
_STATS = ("brightness", "contrast", "saturation", "motion", "loudness_db", "silence_share")


@dataclass(frozen=True)
class Exported:
    """What was written. path: of the file, or of the folder with one file a video; "-" for a stream.
    scenes: a row is a scene."""

    path: str
    format: Format
    videos: int
    rows: int
    scenes: bool = False


def format_of(destination: str) -> Format:
    """The format that a destination's suffix names; json (a folder) where it names none."""
    return _SUFFIXES.get(Path(destination).suffix.lower(), "json")


def export(
    library: Library,
    destination: Path | IO[bytes],
    file_format: Format,
    specs: Mapping[str, str],
    *,
    filters: Filters | None = None,
    ids: Sequence[str] | None = None,
    scenes: bool = False,
) -> Exported:
    """Writes the videos that answer to `filters` (or those in `ids`).

    destination: a folder for json, a file for the others (in a folder: videos.csv, scenes.csv, …), or a stream for
                 jsonl and csv
    scenes:      csv and parquet: one row a scene instead of one a video
    Raises SettingsError for a destination that does not fit, UnavailableError where it cannot be written.
    """
    rows = _documents(library, specs, filters, ids)
    if not isinstance(destination, Path):
        if file_format in ("json", "parquet"):
            raise SettingsError(f"{file_format} cannot be written to a stream.", "jsonl and csv can.")
        return _write(rows, destination, "-", file_format, scenes=scenes)
    if file_format == "json":
        return _folder(rows, destination)
    path = destination
    if path.is_dir():
        path = path / f"{'scenes' if scenes and file_format != 'jsonl' else 'videos'}.{file_format}"
    with _whole_or_not(path) as file:
        return _write(rows, file, str(path), file_format, scenes=scenes)


def _documents(
    library: Library, specs: Mapping[str, str], filters: Filters | None, ids: Sequence[str] | None
) -> Iterator[list[Document]]:
    """Batches of videos as `views` gives them, by hash."""
    query = query_of(library, filters)
    last = ""
    waiting = sorted(set(ids)) if ids is not None else None
    while True:
        if waiting is not None:
            chosen, waiting = waiting[:_BATCH], waiting[_BATCH:]
        else:
            # From the last hash on, not by one cursor: it would die in an export that takes longer than its time limit.
            conditions = [{"_id": {"$gt": last}}, *([query] if query else [])]
            with library.connection.errors_explained():
                found = library.collections["videos"].find({"$and": conditions}, {"_id": 1}).sort("_id", 1)
                chosen = [row["_id"] for row in found.limit(_BATCH)]
        if not chosen:
            return
        last = chosen[-1]
        yield list(views(library, chosen, specs))


def _folder(batches: Iterator[list[Document]], folder: Path) -> Exported:
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is a file; json is written to a folder, one file a video.", "Name a folder.")
    videos = 0
    for batch in batches:
        for document in batch:
            with _whole_or_not(folder / f"{document['video']['sha256']}.json") as file:
                file.write(to_json(document) + b"\n")
            videos += 1
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return Exported(str(folder), "json", videos, videos)


def _write(
    batches: Iterator[list[Document]],
    file: IO[bytes],
    shown: str,
    file_format: Format,
    *,
    scenes: bool,
) -> Exported:
    videos = rows = 0
    columns = _SCENE_COLUMNS if scenes else _VIDEO_COLUMNS
    write = None if file_format == "jsonl" else (_CsvWriter if file_format == "csv" else _ParquetWriter)(file, columns)
    for batch in batches:
        videos += len(batch)
        if write is None:
            file.writelines(to_json(document) + b"\n" for document in batch)
            rows += len(batch)
        else:
            table = [row for document in batch for row in (_scene_rows(document) if scenes else [_video_row(document)])]
            write.rows(table)
            rows += len(table)
    if write is not None:
        write.close()
    return Exported(shown, file_format, videos, rows, scenes=scenes and file_format != "jsonl")


class _CsvWriter:
    def __init__(self, file: IO[bytes], columns: Mapping[str, str]) -> None:
        self._file = file
        self._columns = columns
        self._begun = False

    def rows(self, rows: Sequence[Document]) -> None:
        import pandas as pd

        plain = [{name: _csv_cell(row[name], kind) for name, kind in self._columns.items()} for row in rows]
        frame = pd.DataFrame(plain, columns=list(self._columns), dtype=object)
        text = frame.to_csv(index=False, header=not self._begun, lineterminator="\n")
        self._file.write(text.encode("utf-8", "replace"))
        self._begun = True

    def close(self) -> None:
        if not self._begun:
            self.rows([])


class _ParquetWriter:
    """One row group a batch."""

    def __init__(self, file: IO[bytes], columns: Mapping[str, str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        types: dict[str, pa.DataType] = {
            "text": pa.string(), "texts": pa.list_(pa.string()), "number": pa.float64(), "whole": pa.int64(),
            "time": pa.timestamp("us", tz="UTC"),
        }  # fmt: skip
        self._schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
        self._writer = pq.ParquetWriter(file, self._schema)

    def rows(self, rows: Sequence[Document]) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist([_sound(row) for row in rows], schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _sound(row: Document) -> Document:
    """Texts without halves of surrogate pairs, which Parquet cannot hold."""
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }


def _csv_cell(value: Any, kind: str) -> Any:
    if value is None:
        return ""
    if kind == "texts":
        value = "; ".join(value)
    if kind in ("text", "texts"):
        return f"'{value}" if _FORMULA.match(value) else value
    return value.isoformat() if kind == "time" else value


def _video_row(document: Document) -> Document:
    video = document["video"]
    metadata: Document = document["metadata"] or {}
    summary: Document = document["scene_summary"] or {}
    description: Document = document["description"] or {}
    sentiment: Document = document["sentiment"] or {}
    category: Document = document["category"] or {}
    row = {name: metadata.get(name) for name in _VIDEO_COLUMNS}
    row.update({name: video[name] for name in _OF_THE_VIDEO})
    row.update({name: (summary.get("stats") or {}).get(name) for name in _STATS})
    row.update(
        video=video["sha256"],
        audio_streams=len(metadata["audio"]) if "audio" in metadata else None,
        subtitle_streams=len(metadata["subtitles"]) if "subtitles" in metadata else None,
        scenes=summary.get("count"),
        cuts_per_minute=summary.get("cuts_per_minute"),
        damage=(document["damage"] or {}).get("sentence"),
        description=description.get("text"),
        described_by=description.get("model"),
        sentiment=sentiment.get("label"),
        sentiment_score=sentiment.get("score"),
        sentiment_reason=sentiment.get("reason"),
        summary=description.get("summary"),
        keywords=list(description.get("keywords") or ()),
        ai_generated_tags=[tag["tag"] for tag in description.get("tags") or ()],
        proposed_category=(category.get("proposal") or {}).get("category"),
        answers=_answers(description.get("questions")),
        file_title=metadata.get("title"),
        tags=[tag["tag"] for tag in document["tags"]],
        category=category.get("category"),
        category_score=category.get("score"),
        errors=[
            f"{name}: {stage['error']['message']}" for name, stage in document["stages"].items() if stage.get("error")
        ],
    )
    return row


def _answers(questions: Sequence[Document] | None) -> str | None:
    """Question id -> value, as JSON: each library has questions of its own. None: none were asked."""
    return (
        json.dumps({answer["id"]: answer["value"] for answer in questions}, ensure_ascii=False) if questions else None
    )


def _scene_rows(document: Document) -> Iterator[Document]:
    video = document["video"]
    for scene in document["scenes"]:
        stats: Document = scene.get("stats") or {}
        row = {name: scene.get(name) for name in _SCENE_COLUMNS}
        row.update({name: stats.get(name) for name in _STATS})
        row.update(
            video=video["sha256"],
            **{name: video[name] for name in ("name", "path", "title", "labels")},
            tags=[tag["tag"] for tag in document["tags"]],
            category=(document["category"] or {}).get("category"),
            colors=[color["name"] for color in stats.get("colors", ())],
            answers=_answers(scene.get("answers")),
        )
        yield row


@contextmanager
def _whole_or_not(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends well; otherwise nothing of it is left."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with _explained(path):
        check_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"{path} cannot be written: {error.strerror or error}.", "Choose another place, or make room there."
        ) from error
