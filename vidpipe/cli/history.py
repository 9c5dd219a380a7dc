"""vidpipe history: what happened to a video."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json, Video
from vidpipe.cli.output import note, out, print_json, words
from vidpipe.library.queries.history import history as entries_of

#: More entries than a video has.
_ALL = 1 << 31


def history(
    context: typer.Context,
    video: Video,
    *,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Maximum number of entries; 0 means all.")] = 50,
    as_json: Json = False,
) -> None:
    """Show what happened to a video: changes of its tags and category, verdicts and results of its stages."""
    with open_library(context) as opened:
        sha256 = opened.library.videos.resolve(video)
        entries, following = entries_of(opened.library, sha256, limit=limit or _ALL)
    if as_json:
        print_json({"video": sha256, "items": entries, "next": following})
        return
    for entry in entries:
        out().print(words(f"{entry['at']:%Y-%m-%d %H:%M:%S}  {_sentence(entry)}"), soft_wrap=True)
    if following:
        note("There are earlier entries: --limit 0 shows all.")


def _sentence(entry: Mapping[str, Any]) -> str:
    subject = entry.get("tag") or entry.get("category") or entry["stage"]
    what = entry.get("change") or entry.get("status") or f"was {entry.get('was') or 'none'}"
    given = {"rule": entry.get("rule"), "rules version": entry.get("rules_version"), "by": entry.get("by"),
             "run": entry.get("run")}  # fmt: skip
    about = ", ".join(f"{name} {value[:80]}" for name, value in given.items() if value)
    why = entry.get("evidence") or entry.get("reason") or (entry.get("error") or {}).get("message")
    before = f" (before: {entry['was']})" if entry["kind"] == "tag" and entry.get("was") else ""
    said = why or entry.get("note") or (f"changed: {', '.join(entry['changed'])}" if entry.get("changed") else "")
    kind = "stage" if entry["kind"] == "commit" else entry["kind"]
    return f"{kind} {subject}: {what}.{said and f' {said}'}{before} [{about}]"
