"""vidpipe export: results as JSON, JSON Lines, CSV or Parquet."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
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
from vidpipe.sources.media_store import hash_file
from vidpipe.stages.registry import enabled_analyses
from vidpipe.storage.object_store import Progress


@options.with_filters
def export(
    context: typer.Context,
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DEST", help="A directory (json), a file, s3://bucket/file (gs, az, dropbox), or - for stdout."
        ),
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
        kind = file_format.value if file_format else None
        result = export_to(opened, destination, kind, ids=ids, scenes=scenes)
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
    local = nullcontext(Path(destination).expanduser())
    with upload(opened, destination, chosen) if "://" in destination else local as path:
        target: Any = exact_stdout() if destination == "-" else path
        if destination.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)  # Path drops the slash: out/ is a directory, also for csv
        specs, analyses = opened.plan.specs, enabled_analyses(opened.settings)
        done = exports.export(opened.library, target, chosen, specs, analyses=analyses, ids=ids, scenes=scenes)
    if "://" in destination:
        done = replace(done, path=destination)
    if destination != "-":
        record_export(opened.library.collections, done.path, done.format)
    audit("export", **asdict(done))
    what = counted(done.videos, "video")
    if done.scenes:
        what = f"{counted(done.rows, 'scene')} of {what}"
    note(f"Exported {what} to {done.path if done.path != '-' else 'stdout'} ({done.format}).")
    return asdict(done)


@contextmanager
def upload(opened: OpenLibrary, destination: str, file_format: str) -> Iterator[Path]:
    """Give a path for an export, and store what was written there in the store that `destination` names."""
    folder, _, name = destination.rstrip("/").rpartition("/")
    base = destination.rstrip("/") if file_format == "json" or destination.endswith("/") else folder
    store, progress = opened.library.stores.of(base if not base.endswith(":/") else f"{base}/"), Progress()
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / name
        yield path
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            store.put(file.name, file, hash_file(file, progress.cancelled)[0], progress)
