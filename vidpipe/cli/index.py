"""vidpipe index: the state of the search index, and how it is built again."""

from dataclasses import asdict

import typer

from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, note, out, print_json, say, size, words
from vidpipe.cli.video_selection import many_progress
from vidpipe.search.index import IndexStatus, SearchIndex
from vidpipe.search.index import rebuild as build


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show what the search index contains, where it is, and what the next search does to it."""
    with open_library(context) as opened:
        _print(opened, as_json=as_json)


def rebuild(context: typer.Context, as_json: Json = False) -> None:
    """Build the search index again; meanwhile, searches use the present one.

    Each search brings the index up to date and builds it if necessary, so this is only for when something seems to be
    missing.
    """
    with open_library(context) as opened:
        with many_progress() as progress:
            build(opened.library, note=note, progress=progress)
        _print(opened, as_json=as_json)


def _print(opened: OpenLibrary, *, as_json: bool) -> None:
    found = SearchIndex(opened.library).status()
    if as_json:
        print_json(asdict(found))
    else:
        _show(found)


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
