"""vidpipe store: what stores hold, moving it, checking it, and repairing it."""

from functools import partial
from threading import Event
from typing import Annotated, Any, Literal

import typer

from vidpipe.cli.context import open_library
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

_ACTION = (
    "status: how much each store holds. move: move files and frame packs. verify: find missing, wrong and unknown \
objects. repair: store missing and wrong ones again."
)
_STORE = "move: local, gridfs, s3://bucket/prefix, gs://…, az://… or dropbox://…; default: [Storage] Media."
_DONE = {"move": "Moved", "repair": "Repaired"}
_ORPHANS = "repair: delete objects of no video that are older than a day."


def store(
    context: typer.Context,
    action: Annotated[Literal["status", "move", "verify", "repair"], typer.Argument(help=_ACTION)],
    to: Annotated[str | None, typer.Argument(metavar="[STORE]", help=_STORE)] = None,
    *,
    where: Where = None,
    search: Search = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="move: most files and packs; 0 means all.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="move: only count.")] = False,
    hashes: Annotated[bool, typer.Option("--hash", help="verify, repair: read all files and compare hashes.")] = False,
    delete_orphans: Annotated[bool, typer.Option("--delete-orphans", help=_ORPHANS)] = False,
    as_json: Json = False,
) -> int:
    """Show what each store holds; move, verify and repair what is stored.

    A move deletes nothing before it is verified at the destination; repeating it completes an interrupted one. Files
    that are only referenced stay where they are. Exit code 1: something is wrong, or could not be moved or repaired.
    """
    report = PruneReport(action)
    with open_library(context) as opened, PartsDisplay(f"Store {action}") as display:
        every = not where and search is None

        def work(cancelled: Event) -> dict[str, Any]:
            on_done = partial(display.progress, "files and packs", total=None)
            mover = MediaMover(opened.library, Progress(cancelled=cancelled), on_done)
            if action == "status":
                return {"media": opened.settings.storage.media, **mover.usage()}
            if action == "move":
                ids = chosen_videos(opened, (), every=every, where=where or (), search=search)
                destination = to.rstrip("/") if to else opened.settings.storage.media
                mover.move(report, destination, mover.parts(ids), limit=limit, dry=dry_run)
                return {"dry_run": dry_run, **report.as_document()}
            problems = list(mover.verify(hashes=hashes))
            if action == "verify":
                report.notes += [f"{kind}: {part.key} in {part.store}." for kind, part in problems]
                return {"problems": [{"problem": kind, **part._asdict()} for kind, part in problems]}
            mover.each(report, [part for kind, part in problems if kind != "orphan"], mover.repair)
            mover.delete_orphans(report, [part for kind, part in problems if kind == "orphan" and delete_orphans])
            return report.as_document()

        try:
            result = stoppable(work, display.say)
        except FetchCancelled:
            note("Stopped; repeat the command to continue.", "yellow")
            return INTERRUPTED
    audit("store", action=action, **{**report.as_document(), "kind": action})
    if as_json:
        print_json(result)
        return 1 if report.notes else 0
    if action == "status":
        made = table("store", "videos", "packs", "size")
        for name, row in result["stores"].items():
            made.add_row(name, f"{row.get('videos', 0):,}", f"{row.get('packs', 0):,}", size(row.get("bytes", 0)))
        out().print(made)
        used, limit_bytes = size(result["cache"]["bytes"]), size(result["cache"]["limit_bytes"])
        note(f"Cache: {used} of {limit_bytes}.")
        if result["elsewhere"]:
            note(f"{counted(result['elsewhere'], 'video')} elsewhere than [Storage] Media: `vidpipe store move`.")
    elif action == "verify":
        note("" if report.notes else "Everything is in its place.")
    else:
        verb = "Would be moved" if dry_run else _DONE[action]
        note(f"{verb}: {counted(report.count, 'file')} and frame packs, {size(report.size_bytes)}.")
    for text in report.notes:
        say(out(), words(text, "yellow"))
    return 1 if report.notes else 0
