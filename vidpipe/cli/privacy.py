"""vidpipe privacy report: what is kept of videos and people, and where."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import note, out, print_json, size, table
from vidpipe.library.exports import recorded
from vidpipe.library.library import Library
from vidpipe.library.schema import COLLECTIONS
from vidpipe.operations.retention.video_removal import backup_folders

_Row = tuple[str, str, int, int | None, datetime | None]
_COLUMNS = ("what", "where", "count", "bytes", "since")


def report(context: typer.Context, as_json: Json = False) -> None:
    """List what is kept of videos and people, and where.

    docs/privacy.md maps duties of data protection to commands.
    """
    with open_library(context) as opened:
        settings, connection = opened.settings, opened.library.connection
        kept = list(_rows(opened.library))
    server = "embedded server on this machine" if connection.is_embedded else connection.host
    facts: dict[str, Any] = {
        "MongoDB": f"{server}, TLS {'on' if connection.tls else 'off'}", "Media": settings.storage.media,
        "KeepDays": ", ".join(settings.privacy.keep_days) or "unlimited", "GraceDays": settings.privacy.grace_days,
        "LogsDays": settings.retention.logs_days, "RunsDays": settings.retention.runs_days,
    }  # fmt: skip
    if as_json:
        print_json({"kept": [dict(zip(_COLUMNS, row, strict=True)) for row in kept], "facts": facts})
        return
    made = table(*_COLUMNS, right=("count", "bytes"))
    for what, where, count, size_bytes, since in kept:
        made.add_row(what, where, f"{count:,}", size(size_bytes), f"{since:%Y-%m-%d}" if since else "")
    out().print(made)
    for name, value in facts.items():
        note(f"{name}: {value}")


def _rows(library: Library) -> Iterator[_Row]:
    """Yield what is kept, where, how many, of how many bytes, and since when (UTC); None: unknown."""
    settings, collections = library.settings, library.collections
    by_store: dict[str, Any] = {"_id": {"$ifNull": ["$storage.media", "local"]}, "n": {"$sum": 1}}
    by_store |= {"bytes": {"$sum": "$ingest.size_bytes"}, "since": {"$min": "$added_at"}}
    for row in collections["videos"].aggregate([{"$group": by_store}]):
        yield "videos", row["_id"], row["n"], row["bytes"], row["since"]
    for stage in library.graph:
        done = collections["videos"].count_documents({f"stages.{stage.name}.status": "ok"})
        yield f"results: {stage.name}", "MongoDB", done, None, None
    for name in COLLECTIONS:
        yield f"documents: {name}", "MongoDB", collections[name].estimated_document_count(), None, None
    yield "sources with URLs", "MongoDB", collections["sources"].count_documents({"url": {"$ne": ""}}), None, None
    stated = collections["videos"].count_documents({"ingest.source_data": {"$gt": {}}})
    yield "videos with texts of their sites", "MongoDB", stated, None, None
    for export in recorded(collections):
        yield f"export ({export['format']})", export["destination"], 1, None, export["at"]
    data = settings.data_directory
    folders = [
        ("local files and cache", settings.media_directory), ("packs, proxies and clips", settings.derived_directory),
        ("uploads", settings.uploads_directory), ("undo copies", data / "undo"), ("index", settings.index_directory),
        ("log files", settings.resolve(settings.logging.log_file).parent), ("Dagster's history", data / "dagster"),
    ]  # fmt: skip
    for what, folder in [*folders, *(("backup", folder) for folder in backup_folders(settings))]:
        count, size_bytes, oldest = 0, 0, math.inf
        for path in (Path(parent, name) for parent, _, names in os.walk(folder) for name in names):
            with suppress(FileNotFoundError):  # deleted meanwhile
                found = path.lstat()
                count, size_bytes, oldest = count + 1, size_bytes + found.st_size, min(oldest, found.st_mtime)
        yield what, str(folder), count, size_bytes, datetime.fromtimestamp(oldest, UTC) if count else None
