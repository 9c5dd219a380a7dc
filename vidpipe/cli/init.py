"""vidpipe init: makes a home."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpipe.cli.call import call_of
from vidpipe.cli.options import Json
from vidpipe.cli.output import note, out, print_json, say, words


def init(
    context: typer.Context,
    directory: Annotated[Path | None, typer.Argument(help="The folder; else --home, else the one you are in.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write config.ini and rules anew; what was there goes to NAME.bak.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a home: config.ini with every setting explained, rules/, data/. What is there already stays."""
    from vidpipe.settings import init_home

    report = init_home(directory or call_of(context).home or Path.cwd(), force)
    if as_json:
        names = {"made": report.made, "replaced": report.replaced, "kept": report.kept}
        print_json({"home": str(report.home), **names})
        return
    say(out(), words(report.sentence()))
    note("Next: `vidpipe add URL-OR-FILE …` in that folder, then `vidpipe run`; `vidpipe doctor` says what is missing.")
