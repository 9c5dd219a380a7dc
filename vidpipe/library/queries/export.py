"""Exports: one JSON file per video, one JSON line per video, or a flat table in CSV or Parquet.

Videos are written in the order of their hashes and in batches, so that memory hardly grows with the library. A file
appears completely or not at all: it is written beside its place and then renamed.

CSV is for spreadsheets, and spreadsheets run text that begins with = + - @ (or a tab) as a formula. Names, titles and
descriptions come from others, so such a text gets a ' before it. Parquet and JSON hold every text as it is.
"""

import csv
import io
import json
import logging
import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.library.library import Library
from vidpipe.library.queries import as_of
from vidpipe.library.queries.json_encoding import to_json
from vidpipe.library.queries.show import described_by, views
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked
from vidpipe.safe_files import check_replaceable
from vidpipe.stages.analyses.declaration import NO_ANALYSES, Column, EnabledAnalyses
from vidpipe.text.csv_cells import csv_text

log = logging.getLogger(__name__)

Format = Literal["json", "jsonl", "csv", "parquet"]

_SUFFIXES: Mapping[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}

#: column -> type. Lists are lists in Parquet and joined by "; " in CSV.
VIDEO_COLUMNS = {
    "video": "text", "name": "text", "names": "texts", "urls": "texts", "path": "text", "added_at": "time",
    "state": "text", "title": "text", "titles": "texts", "file_title": "text", "labels": "texts",
    "duration_s": "number", "size_bytes": "whole", "bit_rate": "whole", "container": "text", "video_codec": "text",
    "width": "whole", "height": "whole", "resolution": "text", "orientation": "text", "frame_rate": "number",
    "frame_count": "whole", "hdr": "text", "audio_streams": "whole", "subtitle_streams": "whole", "scenes": "whole",
    "cuts_per_minute": "number", "brightness": "number", "contrast": "number", "saturation": "number",
    "motion": "number", "loudness_db": "number", "silence_share": "number", "damage": "text", "checked_at": "time",
    "damaged_times": "texts", "description": "text", "described_by": "text", "sentiment": "text",
    "sentiment_score": "number", "sentiment_reason": "text", "summary": "text", "keywords": "texts",
    "tags": "texts", "ai_generated_tags": "texts", "category": "text", "subcategory": "text",
    "category_score": "number", "category_margin": "number", "proposed_category": "text",
    "answers": "text", "errors": "texts", "tag_rules": "texts", "rules_version": "text",
    "model_version": "text",
}  # fmt: skip
SCENE_COLUMNS = {
    "video": "text", "name": "text", "path": "text", "title": "text", "labels": "texts", "tags": "texts",
    "category": "text", "index": "whole", "start_s": "number", "end_s": "number", "start_frame": "whole",
    "end_frame": "whole", "thumbnail": "text", "description": "text", "described_by": "text", "brightness": "number",
    "contrast": "number", "saturation": "number", "motion": "number", "loudness_db": "number",
    "silence_share": "number", "colors": "texts", "answers": "text",
}  # fmt: skip
_OF_THE_VIDEO = ("name", "names", "urls", "path", "added_at", "state", "title", "titles", "labels", "size_bytes")
_STATS = ("brightness", "contrast", "saturation", "motion", "loudness_db", "silence_share")

_MAX_PARTITIONS = 10_000

Rows = Iterator[list[Document]]


@dataclass(frozen=True)
class ExportSummary:
    """What was written.

    Attributes:
        path: Of the file, or of the folder with one file per video; "-" for a stream.
        format: The format.
        videos: Number of videos.
        rows: Number of files, lines or rows.
        scenes: Whether a row is a scene.
    """

    path: str
    format: Format
    videos: int
    rows: int
    scenes: bool = False


def format_of(destination: str) -> Format:
    """Return the format of a destination's suffix; json (a folder) if it has none of them."""
    return _SUFFIXES.get(Path(destination).suffix.lower(), "json")


def export(
    library: Library,
    destination: Path | IO[bytes],
    file_format: Format,
    specs: Mapping[str, str],
    *,
    analyses: EnabledAnalyses = NO_ANALYSES,
    ids: Sequence[str] | None = None,
    scenes: bool = False,
    past: as_of.AsOf | None = None,
    batch_size: int = 100,
) -> ExportSummary:
    """Write videos.

    Args:
        library: The library.
        destination: A folder for json, a file for the others (in a folder: videos.csv, scenes.csv, …), or a stream for
            jsonl and csv.
        file_format: The format.
        specs: Today's spec of each stage that can run.
        analyses: Their columns are added to those of videos.
        ids: The videos to write; None: all.
        scenes: In csv and parquet: one row per scene instead of one per video.
        past: Write only tags and categories, as of its time, of the videos of that time.
        batch_size: Videos read at once.

    Raises:
        SettingsError: The destination does not fit the format.
        UnavailableError: The destination cannot be written.
    """
    read = past.read if past else lambda batch: list(views(library, batch, specs))
    batches = _documents(library, read, ids, batch_size)
    scenes = scenes and file_format in ("csv", "parquet")
    if not isinstance(destination, Path):
        if file_format in ("json", "parquet"):
            raise SettingsError(f"{file_format} cannot be written to a stream.", "Use jsonl or csv.")
        return _write(batches, destination, "-", file_format, analyses, scenes=scenes, past=bool(past))
    if file_format == "json":
        return _write_folder(batches, destination)
    path = destination
    if path.is_dir():
        path = path / f"{'scenes' if scenes else 'videos'}.{file_format}"
    with replacing(path) as file:
        return _write(batches, file, str(path), file_format, analyses, scenes=scenes, past=bool(past))


def _documents(
    library: Library, read: Callable[[list[str]], list[Document]], ids: Sequence[str] | None, batch_size: int
) -> Rows:
    """Yield batches of videos as `read` returns them, by hash."""
    with library.connection.errors_explained():
        if ids is None:
            ids = [row["_id"] for row in library.collections["videos"].find({}, {"_id": 1})]
    for batch in chunked(sorted(set(ids)), batch_size):
        with library.connection.errors_explained():
            found = read(batch)
        yield found


def _write_folder(batches: Rows, folder: Path) -> ExportSummary:
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is a file; json needs a folder, with one file per video.", "Name a folder.")
    videos = 0
    for batch in batches:
        for document in batch:
            with replacing(folder / f"{document['video']['sha256']}.json") as file:
                file.write(to_json(document) + b"\n")
            videos += 1
    with _errors_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return ExportSummary(str(folder), "json", videos, videos)


def _write(
    batches: Rows, file: IO[bytes], shown: str, file_format: Format, analyses: EnabledAnalyses, *, scenes: bool,
    past: bool,
) -> ExportSummary:  # fmt: skip
    videos = rows = 0
    added = {
        name: (analysis.stage.key, column)
        for analysis in analyses.analyses
        for name, column in analysis.columns.items()
        if name not in VIDEO_COLUMNS
    }
    kinds = VIDEO_COLUMNS | {name: _kind(column) for name, (_, column) in added.items()}

    def tables() -> Rows:
        nonlocal videos, rows
        for batch in batches:
            table = batch
            if past and file_format != "jsonl":
                table = as_of.rows(batch)
            elif scenes:
                table = [row for document in batch for row in scene_rows(document)]
            elif file_format != "jsonl":
                table = [
                    video_row(document)
                    | {name: _added_cell(name, column, document.get(key)) for name, (key, column) in added.items()}
                    for document in batch
                ]
            videos += len(batch)
            rows += len(table)
            yield table

    if file_format == "jsonl":
        for table in tables():
            file.writelines(to_json(document) + b"\n" for document in table)
    else:
        write = _write_csv if file_format == "csv" else _write_parquet
        write(tables(), file, as_of.COLUMNS if past else SCENE_COLUMNS if scenes else kinds)
    return ExportSummary(shown, file_format, videos, rows, scenes)


def _write_csv(tables: Rows, file: IO[bytes], columns: Mapping[str, str]) -> None:
    def write(rows: Iterable[Iterable[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        file.write(text.getvalue().encode("utf-8", "replace"))

    write([columns])
    for table in tables:
        write([[_csv_cell(row[name], kind) for name, kind in columns.items()] for row in table])


def _write_parquet(tables: Rows, file: IO[bytes], columns: Mapping[str, str]) -> None:
    """Write one row group per batch."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types: dict[str, pa.DataType] = {
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "number": pa.float64(),
        "whole": pa.int64(),
        "time": pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    with pq.ParquetWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(pa.Table.from_pylist([_encodable(row) for row in table], schema=schema))


def write_partitions(table: Path, folder: Path) -> None:
    """Write a Parquet file as folders category=NAME, the names percent-encoded as readers of such datasets expect.

    Raises:
        UnavailableError: The folder cannot be written.
    """
    import pyarrow as pa
    from pyarrow import dataset

    partitioning = dataset.partitioning(pa.schema([("category", pa.string())]), flavor="hive")
    with _errors_explained(folder):
        dataset.write_dataset(
            dataset.dataset(table), folder, format="parquet", partitioning=partitioning, use_threads=False,
            basename_template="part-{i}.parquet", max_partitions=_MAX_PARTITIONS,
        )  # fmt: skip


def _encodable(row: Document) -> Document:
    """Replace lone surrogates in texts, which Parquet cannot hold."""
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }


def _csv_cell(value: Any, kind: str) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if kind == "texts":
        value = "; ".join(value)
    if kind in ("text", "texts"):
        return csv_text(value)
    return value.isoformat() if kind == "time" else value


def video_row(document: Document) -> Document:
    """Return the cells of `VIDEO_COLUMNS` of a video's `view`."""
    video = document["video"]
    metadata: Document = document["metadata"] or {}
    summary: Document = document["scene_summary"] or {}
    stats: Document = summary.get("stats") or {}
    description: Document = document["description"] or {}
    sentiment: Document = document["sentiment"] or {}
    category: Document = document["category"] or {}
    checked: Document = document["checked"] or {}
    errors = {name: stage["error"] for name, stage in document["stages"].items() if stage.get("error")}
    return {
        **{name: metadata.get(name) for name in VIDEO_COLUMNS},
        **{name: video[name] for name in _OF_THE_VIDEO},
        **{name: stats.get(name) for name in _STATS},
        "video": video["sha256"],
        "file_title": metadata.get("title"),
        "audio_streams": len(metadata["audio"]) if "audio" in metadata else None,
        "subtitle_streams": len(metadata["subtitles"]) if "subtitles" in metadata else None,
        "scenes": summary.get("count"),
        "cuts_per_minute": summary.get("cuts_per_minute"),
        "damage": (document["damage"] or {}).get("sentence"),
        "checked_at": checked.get("at"),
        "damaged_times": [f"{span['start_s']:.3f}-{span['end_s']:.3f}" for span in checked.get("spans", ())],
        "description": description.get("text"),
        "described_by": described_by(description) or None,
        "summary": description.get("summary"),
        "keywords": list(description.get("keywords") or ()),
        "ai_generated_tags": [tag["tag"] for tag in description.get("tags") or ()],
        "answers": _answers(description.get("questions")),
        "sentiment": sentiment.get("label"),
        "sentiment_score": sentiment.get("score"),
        "sentiment_reason": sentiment.get("reason"),
        "tags": [tag["tag"] for tag in document["tags"]],
        "category": category.get("category"),
        "subcategory": category.get("subcategory"),
        "category_score": category.get("score"),
        "category_margin": category.get("margin"),
        "proposed_category": (category.get("proposal") or {}).get("category"),
        "errors": [f"{name}: {error['message']}" for name, error in errors.items()],
        "tag_rules": [tag["rule"] for tag in document["tags"]],
        "rules_version": document["stages"].get("tags", {}).get("spec"),
        "model_version": document["stages"].get("descriptions", {}).get("spec"),
    }


def _kind(column: Callable[..., Any]) -> str:
    return column.kind if isinstance(column, Column) else "text"


def _added_cell(name: str, column: Callable[[Mapping[str, Any]], Any], stored: Document | None) -> Any:
    """Return the value of an analysis's column, of the column's type; None if there is no result or it fails."""
    try:
        value = None if stored is None else column(stored)
        return None if value is None else _TYPES[_kind(column)](value)
    except Exception:  # stored by another version, or a fault of a plugin: all other columns are written
        log.warning("the export leaves a cell of the column %s empty", name, exc_info=True)
        return None


def _text(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


_TYPES: Mapping[str, Callable[[Any], Any]] = {
    "text": _text, "texts": lambda values: list(map(str, values)), "number": float, "whole": int,
}  # fmt: skip


def _answers(questions: Sequence[Document] | None) -> str | None:
    """Return question id -> value as JSON, since each library has its own questions; None: none were asked."""
    if not questions:
        return None
    return json.dumps({answer["id"]: answer["value"] for answer in questions}, ensure_ascii=False)


def scene_rows(document: Document) -> Iterator[Document]:
    """Yield the cells of `SCENE_COLUMNS` of each scene of a video's `view`."""
    video = document["video"]
    for scene in document["scenes"]:
        stats: Document = scene.get("stats") or {}
        yield {
            **{name: scene.get(name) for name in SCENE_COLUMNS},
            **{name: stats.get(name) for name in _STATS},
            **{name: video[name] for name in ("name", "path", "title", "labels")},
            "video": video["sha256"],
            "tags": [tag["tag"] for tag in document["tags"]],
            "category": (document["category"] or {}).get("category"),
            "colors": [color["name"] for color in stats.get("colors", ())],
            "answers": _answers(scene.get("answers")),
        }


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that replaces `path` when the block succeeds; otherwise nothing of it remains."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with _errors_explained(path):
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
def _errors_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}."
        raise UnavailableError(message, "Choose another path, or free space on its disk.") from error
