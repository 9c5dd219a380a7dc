"""vidpipe backup: the library, its rules and settings into a folder."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vidpipe.cli.call import call_of
from vidpipe.cli.interrupt import stoppable
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, note, out, print_json, size, words
from vidpipe.cli.parts import PartsDisplay


def backup(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Each back-up is a folder of its own in it, named by the time (UTC).")
    ],
    *,
    media: Annotated[
        bool, typer.Option("--media", help="The videos' files as well; otherwise their names and hashes only.")
    ] = False,
    derived: Annotated[
        bool, typer.Option("--derived/--no-derived", help="Thumbnails and frame packs as well; they can be made anew.")
    ] = True,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Keep so many; the oldest are removed.")] = None,
    as_json: Json = False,
) -> None:
    """Back up the library, rules, config.ini and watched lists. Runs may go on meanwhile.

    Secrets are never in it. Files are linked where DIR is on the same disk, and copied otherwise; an interrupted one
    is continued. `vidpipe restore DIR` makes a library of it again.
    """
    from vidpipe.library.connection import connect
    from vidpipe.operations.backups.backup import back_up, backup_json
    from vidpipe.operations.backups.manifest import BackupCancelled, ProgressMonitor
    from vidpipe.settings import audit
    from vidpipe.stages.registry import GRAPH

    call = call_of(context)
    settings = call.load().settings
    with connect(settings) as connection, connection.errors_explained(), PartsDisplay("Backing up") as display:

        def work(cancelled: threading.Event) -> Any:
            follower = ProgressMonitor(display.progress, cancelled)
            return back_up(
                connection, settings, GRAPH, directory, media=media, derived=derived, keep=keep, config=call.config,
                monitor=follower,
            )  # fmt: skip

        try:
            done = stoppable(work, lambda text: display.say("Stopping; nothing is left that looks like a back-up."))
        except BackupCancelled:
            raise KeyboardInterrupt from None
    told = backup_json(done)
    audit("backup", **told)
    if as_json:
        print_json(told)
        return
    _show(told)


def _show(told: Mapping[str, Any]) -> None:
    console = out()
    documents = told["documents"]
    what = f"{counted(documents['videos'], 'video')}, {size(told['size_bytes'])} of library"
    console.print(words(f"Backed up {what} to {told['path']}"), soft_wrap=True)
    for name, kind in (("media", "media"), ("derived", "thumbnails and frame packs")):
        files = told[name]
        if not files["included"]:
            console.print(words(f"  {kind}: not included" + (", by name and hash" if name == "media" else "")))
            continue
        how = ", ".join(f"{files[way]} {way}" for way in ("linked", "copied", "present") if files[way])
        console.print(words(f"  {kind}: {counted(files['files'], 'file')}, {size(files['size_bytes'])} ({how or '-'})"))
        if files["missing"]:
            note(f"  {files['missing']} were not there: {', '.join(files['missing_names'][:5])} …", "yellow")
    for sentence in told["notes"]:
        note(f"  {sentence}", "yellow")
    for old in told["removed"]:
        note(f"  removed {old}")
