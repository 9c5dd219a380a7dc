"""vidpipe list: the videos, the latest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from vidpipe.cli import options
from vidpipe.cli.call import opened
from vidpipe.cli.output import duration, note, out, print_json, table, words

_STATE_STYLES = {"current": "green", "due": "yellow", "blocked": "yellow", "failed": "red", "quarantined": "red"}
_MOST_SHOWN = 5
#: Columns of the table -> how wide a terminal has to be to have room for them.
_ROOM = {"scenes": 120, "tags": 120, "labels": 160}


def list_videos(
    context: typer.Context,
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
    limit: Annotated[int, typer.Option("--limit", min=0, help="Most videos shown; 0: all.")] = 50,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Videos passed over.")] = 0,
    as_json: options.Json = False,
) -> None:
    """List the videos, the latest first."""
    from vidpipe.library.queries.search import find_videos

    filters = options.make_filters(
        tags=tag, labels=label, categories=category, min_duration_s=min_duration, max_duration_s=max_duration,
        resolutions=resolution, codecs=codec, sentiments=sentiment, sources=source,
    )  # fmt: skip
    with opened(context) as library:
        page = find_videos(library.library, "", filters, limit=limit, offset=offset, specs=library.plan.specs)
    if as_json:
        print_json({"videos": page.hits, "more": page.more})
        return
    show_videos(page.hits)
    if page.more:
        note(f"There are more: --offset {offset + limit}, or --limit 0 for all.")


def show_videos(hits: Sequence[dict[str, Any]]) -> None:
    """The table of videos on stdout."""
    console = out()
    if not hits:
        console.print("No videos.")
        return
    wide: dict[str, Any] = {"min_width": 12, "overflow": "fold"}
    whole: dict[str, Any] = {"no_wrap": True}
    roomy = console.width >= max(_ROOM.values())
    columns: dict[str, dict[str, Any]] = {
        "video": whole, "name": wide, "duration": {"justify": "right", **whole}, "resolution": whole,
        "scenes": {"justify": "right"}, "category": whole,
        "labels": {"min_width": 6, "overflow": "fold"}, "tags": wide, "state": whole,
    }  # fmt: skip
    shown_columns = [name for name in columns if console.width >= _ROOM.get(name, 0)]
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
