"""vidpipe index: the state of the search index, and how it is built again."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, note, out, print_json, say, size, words
from vidpipe.cli.video_selection import many_progress
from vidpipe.search.index import IndexStatus, SearchIndex, rebuild


class IndexAction(StrEnum):
    """What `vidpipe index` does."""

    status = "status"
    rebuild = "rebuild"


def index(
    context: typer.Context,
    action: Annotated[IndexAction, typer.Argument(help="status: show what there is. rebuild: build the index again.")],
    as_json: Json = False,
) -> None:
    """Show the state of the search index, or build it again.

    Each search brings the index up to date and builds it if necessary, so rebuilding is only for when something seems
    to be missing. Meanwhile searches use the present index.
    """
    with open_library(context) as opened:
        if action is IndexAction.rebuild:
            with many_progress() as progress:
                rebuild(opened.library, note=note, progress=progress)
        status = SearchIndex(opened.library).status()
    if as_json:
        print_json(asdict(status))
    else:
        _show(status)


def _show(status: IndexStatus) -> None:
    console = out()
    say(console, words(f"{counted(status.videos, 'video')} and {counted(status.moments, 'moment')}"), "index:     ")
    say(console, words(", ".join(status.languages) or "none"), "languages: ")
    say(console, words(f"{size(status.size_bytes)} in {counted(status.segments, 'segment')}"), "files:     ")
    say(console, words(status.directory), "folder:    ")
    if status.network:
        note(f"It is not in the home's data/, which is on a network file system ({status.network}).")
    if status.fault:
        note(f"The next search builds it: {status.fault}.")
    elif status.behind:
        note(f"The next search adds the latest changes of {counted(status.behind, 'video')}.")
