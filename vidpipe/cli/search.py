"""vidpipe search and vidpipe list."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from vidpipe.cli import options
from vidpipe.cli.context import open_library
from vidpipe.cli.output import duration, note, out, print_json, table, words
from vidpipe.library.queries.search import Filters, SearchPage, find_scenes, find_videos

_STATE_STYLES = {"current": "green", "due": "yellow", "blocked": "yellow", "failed": "red", "quarantined": "red"}
_MOST_SHOWN = 5
#: Column -> minimum terminal width at which it is shown.
_MIN_WIDTHS = {"scenes": 120, "tags": 120, "labels": 160}


@options.with_filters
def list_videos(
    context: typer.Context,
    *,
    filters: Filters,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Maximum number of videos; 0 means all.")] = 50,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Videos to skip.")] = 0,
    as_json: options.Json = False,
) -> None:
    """List videos, newest first."""
    with open_library(context) as opened:
        page = find_videos(opened.library, "", filters, limit=limit, offset=offset, specs=opened.plan.specs)
    if as_json:
        print_json({"videos": page.hits, "more": page.more})
        return
    show_videos(page.hits)
    if page.more:
        note(f"More results: --offset {offset + limit}, or --limit 0 for all.")


def show_videos(hits: Sequence[dict[str, Any]]) -> None:
    """Print the table of videos."""
    console = out()
    if not hits:
        console.print("No videos.")
        return
    wide: dict[str, Any] = {"min_width": 12, "overflow": "fold"}
    whole: dict[str, Any] = {"no_wrap": True}
    roomy = console.width >= max(_MIN_WIDTHS.values())
    columns: dict[str, dict[str, Any]] = {
        "video": whole, "name": wide, "duration": {"justify": "right", **whole}, "resolution": whole,
        "scenes": {"justify": "right"}, "category": whole,
        "labels": {"min_width": 6, "overflow": "fold"}, "tags": wide, "state": whole,
    }  # fmt: skip
    shown_columns = [name for name in columns if console.width >= _MIN_WIDTHS.get(name, 0)]
    if roomy and not any(hit["labels"] for hit in hits):
        shown_columns.remove("labels")
    made = table(*((name, columns[name]) for name in shown_columns))
    for hit in hits:
        size = f"{hit['width']}x{hit['height']}" if hit["width"] else ""
        labels = _some(hit["labels"])
        name = words(hit["name"])
        for below in (hit["title"], f"labels: {labels}" if labels and not roomy else ""):
            if below:
                name.append("\n").append_text(words(below, "dim"))
        state = hit.get("state", "")
        cells = {
            "video": words(hit["video"][:12], "cyan"), "name": name,
            "duration": words(duration(hit["duration_s"])),
            "resolution": words(f"{hit['resolution'] or ''} {size if roomy else ''}".strip()),
            "scenes": words(hit["scenes"]), "category": words(hit["category"]),
            "labels": words(labels), "tags": words(_some(hit["tags"])),
            "state": words(state, _STATE_STYLES.get(state, "")),
        }  # fmt: skip
        made.add_row(*(cells[name] for name in shown_columns))
    console.print(made)


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_MOST_SHOWN]) + (f" +{len(texts) - _MOST_SHOWN}" if len(texts) > _MOST_SHOWN else "")


@options.with_filters
def search(
    context: typer.Context,
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORDS]...", help="Words to search for (any of them); '\"a phrase\"' is required, -word excluded."
        ),
    ] = None,
    *,
    filters: Filters,
    scenes: Annotated[bool, typer.Option("--scenes", help="Show only scenes.")] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Maximum number of videos and of scenes; 0 means all.")
    ] = 20,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Results to skip.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Find videos and scenes by words, most relevant first, and by filters.

    If no whole word matches, parts of words are searched.
    """
    given = query or []
    unknown = next((word for word in given if word.startswith("--") and len(word) > 2), None)
    if unknown:
        raise typer.BadParameter(f"No such option: {unknown}")
    text = " ".join(given)
    videos = found = SearchPage([], "filters", more=False)
    with open_library(context) as opened:
        if not scenes:
            videos = find_videos(opened.library, text, filters, limit=limit, offset=offset, specs=opened.plan.specs)
        if scenes or text.strip():
            found = find_scenes(opened.library, text, filters, limit=limit, offset=offset)
    if as_json:
        print_json({
            "query": text, "videos": videos.hits, "scenes": found.hits, "more_videos": videos.more,
            "more_scenes": found.more, "found_by": {"videos": videos.how, "scenes": found.how},
        })  # fmt: skip
        return
    if not scenes:
        show_videos(videos.hits)
    if found.hits:
        _show_scenes(found.hits)
    elif scenes:
        out().print("No scenes.")
    if "parts of words" in (videos.how if videos.hits else "", found.how if found.hits else ""):
        note("No whole word matched; these results match parts of words.")
    if videos.more or found.more:
        note(f"More results: --offset {offset + limit}, or --limit 0 for all.")


def _show_scenes(hits: Sequence[dict[str, Any]]) -> None:
    made = table(
        ("video", {"no_wrap": True}), ("name", {"min_width": 12, "overflow": "fold"}), ("scene", {"justify": "right"}),
        ("from – to", {"no_wrap": True}), ("description", {"overflow": "fold"}),
    )  # fmt: skip
    for hit in hits:
        made.add_row(
            words(hit["video"][:12], "cyan"), words(hit["name"]), str(hit["index"]),
            f"{duration(hit['start_s'])} – {duration(hit['end_s'])}", words(hit["description"]),
        )  # fmt: skip
    out().print(made)
