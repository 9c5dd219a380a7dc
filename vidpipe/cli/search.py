"""vidpipe search: videos and scenes by words and filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from vidpipe.cli import options
from vidpipe.cli.call import opened
from vidpipe.cli.listing import show_videos
from vidpipe.cli.output import duration, note, out, print_json, table, words


def search(
    context: typer.Context,
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORDS]...",
            help="Any of them; '\"a phrase\"' must be there, -word must not. None: the filters alone.",
        ),
    ] = None,
    *,
    tag: options.Tags = None,
    label: options.Labels = None,
    category: options.Categories = None,
    min_duration: options.MinDuration = None,
    max_duration: options.MaxDuration = None,
    resolution: options.Resolutions = None,
    codec: options.Codecs = None,
    sentiment: options.Sentiments = None,
    source: options.Sources = None,
    scenes: Annotated[bool, typer.Option("--scenes", help="Scenes only.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Most videos, and most scenes; 0: all.")] = 20,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Hits passed over.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Find videos and scenes by words, the most relevant first, and by filters.

    Where no whole word matches, parts of words are looked for.
    """
    from vidpipe.library.queries.search import SearchPage, find_scenes, find_videos

    given = query or []
    unknown = next((word for word in given if word.startswith("--") and len(word) > 2), None)
    if unknown:
        raise typer.BadParameter(f"No such option: {unknown}")
    text = " ".join(given)
    filters = options.make_filters(
        tags=tag, labels=label, categories=category, min_duration_s=min_duration, max_duration_s=max_duration,
        resolutions=resolution, codecs=codec, sentiments=sentiment, sources=source,
    )  # fmt: skip
    videos = found = SearchPage([], "filters", more=False)
    with opened(context) as library:
        if not scenes:
            videos = find_videos(library.library, text, filters, limit=limit, offset=offset, specs=library.plan.specs)
        if scenes or text.strip():
            found = find_scenes(library.library, text, filters, limit=limit, offset=offset)
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
        note("No whole word matched; these hold parts of words.")
    if videos.more or found.more:
        note(f"There are more: --offset {offset + limit}, or --limit 0 for all.")


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
