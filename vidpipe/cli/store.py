"""vidpipe store: what stores hold, moving it, checking it, and repairing it."""

from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Annotated, Any

import typer

from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.interrupt import INTERRUPTED, stoppable
from vidpipe.cli.options import Json, Search
from vidpipe.cli.output import counted, note, out, print_json, say, size, table, words
from vidpipe.cli.progress import PartsDisplay
from vidpipe.cli.video_selection import Where, chosen_videos
from vidpipe.network.fetch_errors import FetchCancelled
from vidpipe.operations.retention import PruneReport
from vidpipe.operations.retention.media_moves import MediaMover
from vidpipe.settings import audit
from vidpipe.storage.object_store import Progress

_Hashes = Annotated[bool, typer.Option("--hash", help="Read all files and compare their hashes.")]


def status(context: typer.Context, *, as_json: Json = False) -> None:
    """Show how much each store holds."""
    with open_library(context) as opened:
        result: dict[str, Any] = {"media": opened.settings.storage.media, **MediaMover(opened.library).usage()}
    if as_json:
        print_json(result)
        return
    made = table("store", "videos", "packs", "size")
    for name, row in result["stores"].items():
        made.add_row(name, f"{row.get('videos', 0):,}", f"{row.get('packs', 0):,}", size(row.get("bytes", 0)))
    out().print(made)
    note(f"Cache: {size(result['cache']['bytes'])} of {size(result['cache']['limit_bytes'])}.")
    if result["elsewhere"]:
        note(f"{counted(result['elsewhere'], 'video')} elsewhere than [Storage] Media: `vidpipe store move`.")


def move(
    context: typer.Context,
    to: Annotated[
        str | None,
        typer.Argument(
            metavar="STORE",
            help="local, gridfs, s3://bucket/prefix, gs://…, az://… or dropbox://…; default: [Storage] Media.",
        ),
    ] = None,
    *,
    where: Where = None,
    search: Search = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Maximum number of files and packs; 0 means all.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show how much would be moved; move nothing.")] = False,
    as_json: Json = False,
) -> int:
    """Move files and frame packs to another store.

    Nothing is deleted before it is verified at the destination; repeating the command completes an interrupted move.
    Files that are only referenced stay where they are. Exit code 1: something could not be moved.
    """

    def work(opened: OpenLibrary, mover: MediaMover, report: PruneReport) -> dict[str, Any]:
        every = not where and search is None
        ids = chosen_videos(opened, (), every=every, where=where or (), search=search)
        destination = to.rstrip("/") if to else opened.settings.storage.media
        mover.move(report, destination, mover.parts(ids), limit=limit, dry=dry_run)
        return {"dry_run": dry_run, **report.as_document()}

    return _run(context, "move", work, "Would be moved" if dry_run else "Moved", as_json=as_json)


def verify(context: typer.Context, *, hashes: _Hashes = False, as_json: Json = False) -> int:
    """List missing, wrong and unknown objects.

    Exit code 1: there are some.
    """

    def work(opened: OpenLibrary, mover: MediaMover, report: PruneReport) -> dict[str, Any]:
        problems = list(mover.verify(hashes=hashes))
        report.notes += [f"{kind}: {part.key} in {part.store}." for kind, part in problems]
        return {"problems": [{"problem": kind, **part._asdict()} for kind, part in problems]}

    return _run(context, "verify", work, as_json=as_json)


def repair(
    context: typer.Context,
    *,
    hashes: _Hashes = False,
    delete_orphans: Annotated[
        bool, typer.Option("--delete-orphans", help="Delete objects of no video that are older than a day.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Store missing and wrong objects again.

    Exit code 1: something could not be repaired.
    """

    def work(opened: OpenLibrary, mover: MediaMover, report: PruneReport) -> dict[str, Any]:
        problems = list(mover.verify(hashes=hashes))
        mover.each(report, [part for kind, part in problems if kind != "orphan"], mover.repair)
        mover.delete_orphans(report, [part for kind, part in problems if kind == "orphan" and delete_orphans])
        return report.as_document()

    return _run(context, "repair", work, "Repaired", as_json=as_json)


def _run(
    context: typer.Context,
    action: str,
    work: Callable[[OpenLibrary, MediaMover, PruneReport], dict[str, Any]],
    done: str = "",
    *,
    as_json: bool,
) -> int:
    """Do the work, show its progress and its report, and return the exit code.

    done: what was done to the files that the report counts; empty: the work only looks.
    """
    report = PruneReport(action)
    with open_library(context) as opened, PartsDisplay(f"Store {action}") as display:

        def run(cancelled: Event) -> dict[str, Any]:
            on_done = partial(display.progress, "files and packs", total=None)
            return work(opened, MediaMover(opened.library, Progress(cancelled=cancelled), on_done), report)

        try:
            result = stoppable(run, display.say)
        except FetchCancelled:
            note("Stopped; repeat the command to continue.", "yellow")
            return INTERRUPTED
    audit("store", action=action, **{**report.as_document(), "kind": action})
    if as_json:
        print_json(result)
        return 1 if report.notes else 0
    if done:
        note(f"{done}: {counted(report.count, 'file')} and frame packs, {size(report.size_bytes)}.")
    elif not report.notes:
        note("Everything is in its place.")
    for text in report.notes:
        say(out(), words(text, "yellow"))
    return 1 if report.notes else 0
