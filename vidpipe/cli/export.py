"""vidpipe export: results as JSON, JSON Lines, CSV or Parquet."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from vidpipe.cli import options
from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.output import counted, exact_stdout, note, print_json
from vidpipe.cli.video_selection import search_engine
from vidpipe.library.exports import record as record_export
from vidpipe.library.queries import export as exports
from vidpipe.settings import audit
from vidpipe.stages.registry import enabled_analyses


@options.with_filters
def export(
    context: typer.Context,
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="A directory (json), a file, or - for stdout (jsonl, csv).")
    ],
    *,
    file_format: Annotated[
        options.ExportFormat | None, typer.Option("--format", help="Default: from DEST's suffix, or json.")
    ] = None,
    scenes: Annotated[
        bool, typer.Option("--scenes", help="For csv and parquet: one row per scene instead of one per video.")
    ] = False,
    filters: tuple[str, ...],
    search: options.Search = None,
    as_json: options.Json = False,
) -> None:
    """Export results as JSON, JSON Lines, CSV or Parquet.

    json writes one file per video, jsonl one line per video; csv and parquet are flat tables. Files are written
    atomically. In csv, text that a spreadsheet would evaluate as a formula (starting with = + - @) is prefixed with ';
    the other formats keep text unchanged.
    """
    if destination == "-" and as_json:
        raise typer.BadParameter("--json cannot be combined with DEST -, which writes the export to stdout.")
    with open_library(context) as opened:
        selected = filters or search is not None
        ids = search_engine(opened).ids(search or "", filters) if selected else None
        result = export_to(opened, destination, file_format.value if file_format else None, ids=ids, scenes=scenes)
    if as_json:
        print_json(result)


def export_to(
    opened: OpenLibrary,
    destination: str,
    file_format: str | None,
    *,
    ids: Sequence[str] | None = None,
    scenes: bool = False,
) -> dict[str, Any]:
    """Export, and report on stderr what was written. file_format: None to derive it from the destination's suffix."""
    chosen: Any = file_format or ("jsonl" if destination == "-" else exports.format_of(destination))
    target: Any = exact_stdout() if destination == "-" else Path(destination).expanduser()
    if destination.endswith("/"):
        target.mkdir(parents=True, exist_ok=True)  # Path drops the slash: out/ is a directory, also for csv
    analyses = enabled_analyses(opened.settings)
    done = exports.export(opened.library, target, chosen, opened.plan.specs, analyses=analyses, ids=ids, scenes=scenes)
    if done.path != "-":
        record_export(opened.library.collections, done.path, done.format)
    audit("export", **asdict(done))
    what = counted(done.videos, "video")
    if done.scenes:
        what = f"{counted(done.rows, 'scene')} of {what}"
    note(f"Exported {what} to {done.path if done.path != '-' else 'stdout'} ({done.format}).")
    return asdict(done)
