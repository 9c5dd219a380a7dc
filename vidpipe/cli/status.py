"""vidpipe status: how far the library is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

import typer

from vidpipe.cli.call import Opened, opened
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, error_object, note, out, print_json, say, size, table, words

_FAILED_SOURCES = ("failed", "refused")
_STYLES = {"due": "yellow", "failed": "red", "quarantined": "red"}


def status(
    context: typer.Context,
    failed: Annotated[
        bool, typer.Option("--failed", help="List what failed: video, stage, why, and what to do.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Most failures listed a stage; 0: all.")] = 50,
    as_json: Json = False,
) -> None:
    """Per stage how many videos are current, due, blocked, failed and quarantined; and the sources by state."""
    with opened(context) as library:
        result = _status(library)
        if failed:
            result["failed"] = list(_failures(library, limit))
            result["failed_sources"] = list(_failed_sources(library, limit))
            result["list_problems"] = list(_list_problems(library, limit))
    if as_json:
        print_json(result)
    else:
        _show(result)


def _status(opened: Opened) -> dict[str, Any]:
    from vidpipe.library.states import STATES

    library, plan = opened.library, opened.plan
    counts = library.states.counts(plan.specs)
    stages: dict[str, Any] = {name: dict(counts.get(name, dict.fromkeys(STATES, 0))) for name in library.graph.names}
    for name, problem in plan.unavailable.items():
        stages[name]["problem"] = error_object(problem)
    free = shutil.disk_usage(opened.settings.home).free
    return {
        "home": str(opened.settings.home),
        "videos": library.videos.count(),
        "stages": stages,
        "sources": library.sources.counts(),
        "due_videos": len(library.states.due(plan.specs)),
        "free_bytes": free,
    }


def _failures(opened: Opened, limit: int) -> Iterator[dict[str, Any]]:
    for stage, spec in opened.plan.specs.items():
        for state in ("failed", "quarantined"):
            for document in opened.library.states.in_state(stage, spec, state, limit=limit):
                entry = document["stages"][stage]
                error = entry.get("error") or {}
                names = document["ingest"].get("names") or [document["_id"][:12]]
                yield {
                    "video": document["_id"],
                    "name": names[0],
                    "stage": stage,
                    "state": state,
                    "message": error.get("message", ""),
                    "hint": error.get("hint", ""),
                    "attempts": entry.get("attempts", 0),
                    "next_try_at": entry.get("next_try_at"),
                }


def _failed_sources(opened: Opened, limit: int) -> Iterator[dict[str, Any]]:
    for number, source in enumerate(opened.library.sources.in_state(*_FAILED_SOURCES)):
        if limit and number >= limit:
            return
        yield {
            "url": source.url,
            "state": source.state,
            "message": source.last_error or "",
            "attempts": source.attempts,
            "next_try_at": source.next_try_at,
        }


def _list_problems(opened: Opened, limit: int) -> Iterator[dict[str, Any]]:
    """What the sensor could not read in the watched lists when it last looked."""
    from vidpipe.library.listed_sources import ListedSources

    problems = ListedSources(opened.library.collections, opened.library.sources).problems()
    for where, sentence in islice(problems, limit or None):
        yield {"where": where, "message": sentence}


def _show(result: dict[str, Any]) -> None:
    from vidpipe.library.states import STATES

    console = out()
    made = table("stage", *((state, {"justify": "right"}) for state in STATES))
    for name, counts in result["stages"].items():
        if "problem" in counts:
            made.add_row(name, words("cannot run", "red"))
            continue
        made.add_row(
            name, *(words(counts[state], _STYLES.get(state, "") if counts[state] else "dim") for state in STATES)
        )
    console.print(made)
    sources = ", ".join(f"{number} {state}" for state, number in sorted(result["sources"].items())) or "none"
    videos = result["videos"]
    console.print(words(f"{counted(videos, 'video')}; sources: {sources}; {size(result['free_bytes'])} free."))
    for name, counts in result["stages"].items():
        if "problem" in counts:
            say(console, words(f"Stage {name} cannot run: {counts['problem']['message']}", "red"))
            if counts["problem"]["hint"]:
                say(console, words(f"  {counts['problem']['hint']}", "dim"))
    for failure in result.get("failed", ()):
        _show_failure(failure["message"], failure["hint"])
    for source in result.get("failed_sources", ()):
        _show_failure(source["message"] or source["url"], "")
    for problem in result.get("list_problems", ()):
        _show_failure(problem["message"], "")
    if result["due_videos"]:
        note(f"{counted(result['due_videos'], 'video')} due: `vidpipe run`.")
    failed = any(counts["failed"] + counts["quarantined"] for counts in result["stages"].values())
    failed_sources = any(result["sources"].get(state) for state in _FAILED_SOURCES)
    if (failed or failed_sources) and "failed" not in result:
        note("`vidpipe status --failed` lists what failed, and why.")
    if failed:
        note("`vidpipe run --retry` tries failed stages again.")
    if failed_sources and "failed" in result:
        note("`vidpipe add --retry INPUT` tries a source again.")


def _show_failure(message: str, hint: str) -> None:
    console = out()
    say(console, words(f"• {message}", "red"))
    if hint:
        say(console, words(f"  {hint}", "dim"))
