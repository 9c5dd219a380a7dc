"""vidpipe export: results as files for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidpipe.cli import options
from vidpipe.cli.call import Opened, opened
from vidpipe.cli.output import counted, exact_stdout, note, print_json

if TYPE_CHECKING:
    from vidpipe.library.queries.search import Filters


def export(
    context: typer.Context,
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="A folder (json), a file, or - for stdout (jsonl, csv).")
    ],
    *,
    file_format: Annotated[
        options.ExportFormat | None, typer.Option("--format", help="Else by DEST's suffix; json where it has none.")
    ] = None,
    scenes: Annotated[bool, typer.Option("--scenes", help="csv, parquet: one row a scene, not one a video.")] = False,
    tag: options.Tags = None,
    label: options.Labels = None,
    category: options.Categories = None,
    min_duration: options.MinDuration = None,
    max_duration: options.MaxDuration = None,
    resolution: options.Resolutions = None,
    codec: options.Codecs = None,
    sentiment: options.Sentiments = None,
    source: options.Sources = None,
    as_json: options.Json = False,
) -> None:
    """Export results: json (one file a video), jsonl (one line a video), csv and parquet (flat tables).

    Files appear whole or not at all. In csv, texts that a spreadsheet would run as a formula (they begin with = + - @)
    get a ' before them; the other formats hold every text as it is.
    """
    filters = options.make_filters(
        tags=tag, labels=label, categories=category, min_duration_s=min_duration, max_duration_s=max_duration,
        resolutions=resolution, codecs=codec, sentiments=sentiment, sources=source,
    )  # fmt: skip
    if destination == "-" and as_json:
        raise typer.BadParameter("--json reports on an export to a file; with - the export itself is on stdout.")
    with opened(context) as library:
        result = export_to(
            library, destination, file_format.value if file_format else None, filters=filters, scenes=scenes
        )
    if as_json:
        print_json(result)


def export_to(
    opened: Opened,
    destination: str,
    file_format: str | None,
    *,
    filters: Filters | None = None,
    ids: Sequence[str] | None = None,
    scenes: bool = False,
) -> dict[str, Any]:
    """Exports and says on stderr what was written. file_format: None to go by the destination's suffix."""
    from vidpipe.library.queries import export as exports
    from vidpipe.settings import audit

    chosen: Any = file_format or ("jsonl" if destination == "-" else exports.format_of(destination))
    target: Any = exact_stdout() if destination == "-" else Path(destination).expanduser()
    if destination.endswith("/"):
        target.mkdir(parents=True, exist_ok=True)  # Path forgets the stroke: out/ is a folder, also for csv
    done = exports.export(opened.library, target, chosen, opened.plan.specs, filters=filters, ids=ids, scenes=scenes)
    audit("export", **asdict(done))
    what = counted(done.videos, "video")
    if done.scenes:
        what = f"{counted(done.rows, 'scene')} of {what}"
    note(f"Exported {what} to {done.path if done.path != '-' else 'stdout'} ({done.format}).")
    return asdict(done)
