"""vidpipe export: results as JSON, JSON Lines, CSV or Parquet."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Literal

import typer

from vidpipe.cli import options
from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.interrupt import INTERRUPTED
from vidpipe.cli.output import counted, exact_stdout, note, print_json
from vidpipe.cli.video_selection import chosen_videos, search_engine
from vidpipe.datasets.exporters.exporter import FORMATS
from vidpipe.library.exports import record as record_export
from vidpipe.library.queries import export as exports
from vidpipe.library.queries.as_of import AsOf
from vidpipe.settings import audit
from vidpipe.sources.media_store import hash_file
from vidpipe.stages.registry import enabled_analyses
from vidpipe.storage.object_store import Progress

#: What --at takes.
TIMES = ["%Y-%m-%d", *(f"%Y-%m-%dT%H:%M{seconds}{zone}" for seconds in ("", ":%S", ":%S.%f") for zone in ("", "%z"))]
_Format = Literal[
    "json", "jsonl", "csv", "parquet", "hf", "webdataset", "qwen-sft", "kinetics", "activitynet", "fiftyone",
    "label-studio", "otio", "edl", "webvtt", "srt",
]  # fmt: skip


@options.with_filters
def export(
    context: typer.Context,
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DEST", help="A folder (json, hf, …), a file, s3://bucket/file (gs, az, dropbox), or - for stdout."
        ),
    ],
    *,
    file_format: Annotated[
        _Format | None, typer.Option("--format", help="Default: from DEST's suffix, or json.")
    ] = None,
    scenes: Annotated[
        bool,
        typer.Option("--scenes", help="One row or clip per scene instead of one per video; not for json and jsonl."),
    ] = False,
    partition: Annotated[
        bool, typer.Option("--partition", help="Write parquet as DEST/videos/category=NAME/part-0.parquet.")
    ] = False,
    at: Annotated[
        datetime | None,
        typer.Option(
            "--at",
            formats=TIMES,
            metavar="TIME",
            help="Only tags and categories, as of this ISO date (its beginning) or time; UTC without offset.",
        ),
    ] = None,
    shard_size: Annotated[
        int | None, typer.Option("--shard-size", min=1, metavar="BYTES", help="webdataset: about this much per shard.")
    ] = None,
    seen_only: Annotated[
        bool, typer.Option("--seen-only", help="qwen-sft: only descriptions by a model, not those of measurements.")
    ] = False,
    filters: tuple[str, ...],
    search: options.Search = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", metavar="NAME[@V]", help="A version of a dataset as it was made; the latest by default."
        ),
    ] = None,
    as_json: options.Json = False,
) -> int:
    """Export results, or a dataset with its media files for another tool.

    json writes one file per video, jsonl one line per video; csv and parquet are flat tables. Files are written
    atomically. In csv, text that a spreadsheet would evaluate as a formula (starting with = + - @) is prefixed with ';
    the other formats keep text unchanged. hf and what follows it write a folder for other tools: see docs/datasets.md.
    With --at, it contains only what the videos of that time were tagged and categorized as then; filters and --search
    still mean the library of today.
    """
    if at is not None and scenes:
        raise typer.BadParameter("--at is about videos; it cannot be combined with --scenes.")
    if partition and (file_format != "parquet" or destination == "-"):
        raise typer.BadParameter("--partition needs --format parquet and a folder as DEST.")
    if destination == "-" and as_json:
        raise typer.BadParameter("--json cannot be combined with DEST -, which writes the export to stdout.")
    if destination == "-" and file_format in FORMATS:
        raise typer.BadParameter(f"--format {file_format} writes a folder; DEST cannot be -.")
    if dataset is not None and (filters or search is not None or scenes or at or file_format not in FORMATS):
        raise typer.BadParameter(f"--dataset takes a --format of {', '.join(FORMATS)} and no other selection.")
    with open_library(context) as opened:
        selected = filters or search is not None
        ids = search_engine(opened).ids(search or "", filters) if selected else None
        if file_format is not None and file_format in FORMATS:
            from vidpipe.cli.export_dataset import export_dataset  # imports numpy

            ids = chosen_videos(opened, (), every=True) if ids is None and not dataset else ids or []
            given: dict[str, Any] = {"dataset": dataset, "shard_size": shard_size, "seen_only": seen_only}
            result = export_dataset(opened, destination, file_format, ids=ids, by_scene=scenes, **given)
        else:
            result = export_to(opened, destination, file_format, ids=ids, scenes=scenes, at=at, partition=partition)
    if as_json:
        print_json(result)
    return INTERRUPTED if result.get("interrupted") else 1 if result.get("failed") else 0


def export_to(
    opened: OpenLibrary,
    destination: str,
    file_format: str | None,
    *,
    ids: Sequence[str] | None = None,
    scenes: bool = False,
    at: datetime | None = None,
    partition: bool = False,
) -> dict[str, Any]:
    """Export, and report on stderr what was written.

    file_format: None to derive it from the destination's suffix. at: time of the tags and categories; None: now.
    partition: whether to write parquet as a folder per category.
    """
    past = AsOf(opened.library, at if at.tzinfo else at.replace(tzinfo=UTC)) if at else None
    chosen: Any = file_format or ("jsonl" if destination == "-" else exports.format_of(destination))
    local = nullcontext(Path(destination).expanduser())
    if partition:
        destination = f"{destination.rstrip('/')}/{'scenes' if scenes else 'videos'}"
        place: Any = partitions(opened, destination)
    else:
        place = upload(opened, destination, chosen) if "://" in destination else local
    with place as path:
        target: Any = exact_stdout() if destination == "-" else path
        if destination.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)  # Path drops the slash: out/ is a directory, also for csv
        specs, analyses = opened.plan.specs, enabled_analyses(opened.settings)
        done = exports.export(
            opened.library, target, chosen, specs, analyses=analyses, ids=ids, scenes=scenes, past=past
        )
    if partition or "://" in destination:
        done = replace(done, path=destination)
    if destination != "-":
        record_export(opened.library.collections, done.path, done.format)
    audit("export", **asdict(done))
    what = counted(done.videos, "video")
    if done.scenes:
        what = f"{counted(done.rows, 'scene')} of {what}"
    note(f"Exported {what} to {done.path if done.path != '-' else 'stdout'} ({done.format}).")
    if past is None:
        return asdict(done)
    unknown = f" Unknown, because changes were not recorded: {counted(past.unknown, 'video')}." if past.unknown else ""
    note(f"It contains only tags and categories, as of {past.at.isoformat()}.{unknown}")
    return {**asdict(done), "as_of": past.at, "unknown": past.unknown}


@contextmanager
def partitions(opened: OpenLibrary, destination: str) -> Iterator[Path]:
    """Give a path for a Parquet file, and store what was written there as a folder per category."""
    from vidpipe.datasets.target import open_target

    cancelled = Event()
    target = open_target(opened.library, destination, cancelled, "parquet")
    with tempfile.TemporaryDirectory() as temporary:
        table, folder = Path(temporary) / "table", Path(temporary) / "folder"
        yield table
        exports.write_partitions(table, folder)
        for file in sorted(folder.rglob("*.parquet")):
            target.put(file.relative_to(folder).as_posix(), hash_file(file, cancelled)[0], file)
    target.finish()


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
