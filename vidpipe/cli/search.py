"""vidpipe search and vidpipe list."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vidpipe.cli import options
from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.output import counted, note, out, print_json, table, words
from vidpipe.cli.search_view import show_facets, show_hits, show_videos
from vidpipe.cli.video_selection import search_engine
from vidpipe.errors import SettingsError, readable

if TYPE_CHECKING:
    from vidpipe.search.engine import SearchPage


@options.with_filters
def list_videos(
    context: typer.Context,
    *,
    filters: tuple[str, ...],
    search: options.Search = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Maximum number of videos; 0 means all.")] = 50,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Videos to skip.")] = 0,
    as_json: options.Json = False,
) -> None:
    """List videos, newest first."""
    with open_library(context) as opened:
        # The search as a filter: all its words must match, as wherever videos are selected.
        required = (search or "", *filters)
        page = search_engine(opened).find("", required, order="date", limit=limit, offset=offset, facets=False)
    more = offset + len(page.hits) < page.total
    if as_json:
        print_json({"videos": page.hits, "more": more})
        return
    _note_how(page)
    show_videos(page.hits)
    if more:
        note(f"More results: --offset {offset + limit}, or --limit 0 for all.")


@options.with_filters
def search(
    context: typer.Context,
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY",
            help='Words that must all match, "phrases", -word, OR, brackets, tag:dark, duration:>60, saved:NAME; '
            "docs/search.md. Quote it for the shell: 'duration:>60 \"golden hour\"'.",
        ),
    ] = None,
    *,
    filters: tuple[str, ...],
    order: Annotated[
        Literal["relevance", "date", "duration", "name"],
        typer.Option("--order", help="Order of the videos; without words, relevance means date."),
    ] = "relevance",
    moments: Annotated[
        bool, typer.Option("--moments", "--scenes", help="List moments instead of videos: scenes, cues, chapters.")
    ] = False,
    meaning: Annotated[
        bool,
        typer.Option(
            "--meaning", help="Find what is nearest in meaning, whatever its words; needs the analysis meaning."
        ),
    ] = False,
    limit: options.Limit = 20,
    after: Annotated[str | None, typer.Option("--after", metavar="CURSOR", help="Continue after a page.")] = None,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Videos to skip.")] = 0,
    save: Annotated[
        str | None, typer.Option("--save", metavar="NAME", help="Save the search, filters included, as saved:NAME.")
    ] = None,
    saved: Annotated[bool, typer.Option("--saved", help="List the saved searches.")] = False,
    delete_saved: Annotated[
        str | None, typer.Option("--delete-saved", metavar="NAME", help="Delete a saved search.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Find videos by words and filters, and the moments in which the words occur.

    All words must match, anywhere in a video. If no video has all of them, any of them suffices, and this is said.
    """
    given = query or []
    unknown = next((word for word in given if word.startswith("--") and len(word) > 2), None)
    if unknown:
        raise SettingsError(f"There is no option {unknown}.", "`vidpipe search --help` lists the options.")
    text = readable(" ".join(given))
    with open_library(context) as opened:
        if saved or delete_saved is not None:
            _show_saved(opened, delete_saved, as_json=as_json)
            return
        engine = search_engine(opened)
        page = engine.find(
            text, filters, meaning=meaning, order=order, limit=limit, after=after, offset=offset, moments=moments
        )
        if save is not None:
            whole = f"({text})" if text.strip() and filters else text
            _save(opened, save, " ".join([whole, *filters]).strip())
    if as_json:
        print_json({"query": text, **asdict(page)})
    else:
        _show(page, moments=moments)
        if not page.total and "://" in text:
            note("URLs are searched with the field source: write source: before them, or use --source.")


@options.with_filters
def similar(
    context: typer.Context,
    video: options.Video,
    *,
    filters: tuple[str, ...],
    limit: options.Limit = 20,
    as_json: options.Json = False,
) -> None:
    """Find the videos nearest in meaning to a video; needs the analysis meaning."""
    with open_library(context) as opened:
        sha256 = opened.library.videos.resolve(video)
        page = search_engine(opened).find(filters=filters, like=sha256, limit=limit)
    if as_json:
        print_json({"video": sha256, **asdict(page)})
    else:
        _show(page, moments=False)


def _show(page: SearchPage, *, moments: bool) -> None:
    _note_how(page)
    if moments or any(hit["matched_in"] for hit in page.hits):
        show_hits(page.hits, moments=moments)
    else:
        show_videos(page.hits)
    show_facets(page.facets, page.total)
    if page.total:
        more = f"; next page: --after {page.next}" if page.next else "." if page.hits else ", all on earlier pages."
        note(counted(page.total, "video") + more)


def _note_how(page: SearchPage) -> None:
    """Say on stderr what a reader of the results should know."""
    if page.matched == "any" and page.hits:
        note("No video contains all the words; these contain at least one.", "yellow")
    if page.did_you_mean:
        note(f"Did you mean: {page.did_you_mean}", "yellow")
    for sentence in page.notes:
        note(sentence)


def _save(opened: OpenLibrary, name: str, query: str) -> None:
    from vidpipe.search.fields import Fields
    from vidpipe.search.saved import SavedSearches

    searches = SavedSearches(opened.library.collections)
    before = searches.get(name)
    searches.save(name, query, Fields(opened.library.graph))
    note(f"Saved as saved:{name}: {query}" + (f" (until now: {before})" if before not in (None, query) else ""))


def _show_saved(opened: OpenLibrary, delete: str | None, *, as_json: bool) -> None:
    """Delete a saved search, or list them."""
    from vidpipe.search.saved import SavedSearches

    saved = SavedSearches(opened.library.collections)
    if delete is not None:
        if not saved.delete(delete):
            raise SettingsError(f"No search is saved as '{delete}'.", "`vidpipe search --saved` lists them.")
        note(f"Deleted the saved search '{delete}'.")
    searches = saved.all()
    if as_json:
        print_json({"saved": [one._asdict() for one in searches]})
        return
    made = table("name", "query", "saved", fold=("query",))
    for one in searches:
        made.add_row(words(one.name), words(one.query), f"{one.saved_at.astimezone():%Y-%m-%d %H:%M}")
    out().print(made if searches else "No saved searches.")
