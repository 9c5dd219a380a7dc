"""vidpipe mirror: a copy of the library in an SQL database."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.interrupt import INTERRUPTED, stoppable
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, note, out, print_json, say, words
from vidpipe.cli.progress import PartsDisplay
from vidpipe.datasets.mirror import sync
from vidpipe.settings import audit

_SQLITE = "sqlite:///"
_URL_HELP = "postgresql://…, mysql://… or sqlite:///PATH; by default [Mirror] URL, which hides a password better."
_REBUILD_HELP = "Write everything again, also into the mirror of another library."


def mirror(
    context: typer.Context,
    url: Annotated[str | None, typer.Argument(metavar="URL", help=_URL_HELP)] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help=_REBUILD_HELP)] = False,
    as_json: Json = False,
) -> int:
    """Mirror the library to a PostgreSQL, MySQL or SQLite database.

    Only what has changed since the last time is written. Safe while runs are in progress; an interrupted update is
    continued by the next one. [Mirror] Schedule does the same on a schedule.
    """
    if url and url.startswith(_SQLITE):  # the setting is relative to the home
        url = _SQLITE + str(Path(url.removeprefix(_SQLITE)).expanduser().absolute())
    with open_library(context, {"mirror.url": url}) as opened, PartsDisplay("Mirroring") as display:
        report = stoppable(
            lambda stop: sync.mirror(opened.library, rebuild=rebuild, cancelled=stop, progress=display.progress),
            display.say,
        )  # fmt: skip
    audit("mirror", **{**asdict(report), "failed": len(report.failed)})
    for one in report.failed:
        note(f"{one['id'][:12]} stays as it was in the mirror: {one['error']}", "yellow")
    if as_json:
        print_json(asdict(report))
    else:
        written, removed = report.written, report.removed
        changed = [f"{counted(written[kind], kind[:-1])} written, {removed[kind]} removed" for kind in written]
        say(out(), words(f"{report.database} is at change {report.change_number}: {', '.join(changed)}."))
    return INTERRUPTED if report.interrupted else 1 if report.failed else 0
