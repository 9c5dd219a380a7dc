"""vidpipe privacy: what is kept of videos and people, and where."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import note, out, print_json, size, table
from vidpipe.library.exports import recorded
from vidpipe.library.library import Library
from vidpipe.library.schema import COLLECTIONS
from vidpipe.operations.retention.video_removal import backup_folders


def privacy(
    context: typer.Context,
    action: Annotated[Literal["report"], typer.Argument(help="report: list what is kept where.")],
    as_json: Json = False,
) -> None:
    """Show what is kept of videos and people, where, since when and how it is protected.

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
        print_json({"kept": kept, "facts": facts})
        return
    made = table("what", "where", ("count", {"justify": "right"}), ("size", {"justify": "right"}), "since")
    for row in kept:
        made.add_row(
            row["what"], row["where"], str(row["count"]), size(row["bytes"]),
            f"{row['since']:%Y-%m-%d}" if row["since"] else "",
        )  # fmt: skip
    out().print(made)
    for name, value in facts.items():
        note(f"{name}: {value}")


def _row(what: str, where: str, count: int, size_bytes: int = 0, since: datetime | None = None) -> dict[str, Any]:
    return {"what": what, "where": where, "count": count, "bytes": size_bytes, "since": since}


def _rows(library: Library) -> Iterator[dict[str, Any]]:
    """Yield what is kept: what, where, count, bytes, and since when (UTC; None: unknown)."""
    settings, videos = library.settings, library.collections["videos"]
    by_store: dict[str, Any] = {"_id": {"$ifNull": ["$storage.media", "local"]}, "n": {"$sum": 1}}
    by_store |= {"bytes": {"$sum": "$ingest.size_bytes"}, "since": {"$min": "$added_at"}}
    for row in videos.aggregate([{"$group": by_store}]):
        yield _row("videos", row["_id"], row["n"], row["bytes"], row["since"])
    for stage in library.graph:
        yield _row(f"results: {stage.name}", "MongoDB", videos.count_documents({f"stages.{stage.name}.status": "ok"}))
    for name in COLLECTIONS:
        yield _row(f"documents: {name}", "MongoDB", library.collections[name].estimated_document_count())
    yield _row("sources with URLs", "MongoDB", library.collections["sources"].count_documents({"url": {"$ne": ""}}))
    for export in recorded(library.collections):
        yield _row(f"export ({export['format']})", export["destination"], 1, 0, export["at"])
    data = settings.data_directory
    folders = {
        "local files and cache": settings.media_directory, "frame packs and proxies": settings.derived_directory,
        "uploads": settings.uploads_directory, "undo copies": data / "undo", "search index": settings.index_directory,
        "log files": settings.resolve(settings.logging.log_file).parent, "Dagster's history": data / "dagster",
    }  # fmt: skip
    for what, folder in [*folders.items(), *(("backup", folder) for folder in backup_folders(settings))]:
        stats = [path.lstat() for path in Path(folder).rglob("*") if path.is_file()]
        oldest = min((stat.st_mtime for stat in stats), default=None)
        since = datetime.fromtimestamp(oldest, UTC) if oldest else None
        yield _row(what, str(folder), len(stats), sum(stat.st_size for stat in stats), since)
