"""vidpipe status: the state of the library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, error_object, note, out, print_json, say, size, table, words
from vidpipe.cli.status_watch import watch_status
from vidpipe.errors import SettingsError
from vidpipe.ingest.dependencies import Dependencies
from vidpipe.ingest.urls import readable_url
from vidpipe.library.listed_sources import ListedSources
from vidpipe.library.states import STATES
from vidpipe.services.service import TITLES
from vidpipe.services.station import down_servers
from vidpipe.services.station import status as running_services
from vidpipe.settings import free_by_disk, free_bytes


def status(
    context: typer.Context,
    failed: Annotated[
        bool, typer.Option("--failed", help="List failures with their video, stage, reason and what to do.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Maximum number of failures per stage; 0 means all.")
    ] = 50,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch",
            min=0.2,
            max=86400,
            metavar="[SECONDS]",
            help="Refresh every SECONDS (default 2), with runs, queue, rates and new failures, until Ctrl-C.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how many videos are current, due, blocked, failed and quarantined per stage.

    Also shows sources by state, running servers, and changes that wait for your decision.
    """
    if watch is not None and failed:
        raise SettingsError("--failed and --watch cannot be combined.", "--watch shows new failures.")
    with open_library(context) as opened:
        if watch is not None:
            watch_status(opened, watch, status_of, as_json=as_json)
            return
        result = status_of(opened)
        if failed:
            result["failed"] = list(_failures(opened, limit))
            result["failed_sources"] = list(_failed_sources(opened, limit))
            result["list_problems"] = list(_list_problems(opened, limit))
    if as_json:
        print_json(result)
    else:
        show_status(result)


def status_of(opened: OpenLibrary) -> dict[str, Any]:
    """Return the status of the library as JSON values."""
    library, plan, settings = opened.library, opened.plan, opened.settings
    counts = library.states.counts(plan.specs)
    stages: dict[str, Any] = {name: dict(counts.get(name, dict.fromkeys(STATES, 0))) for name in library.graph.names}
    for name, problem in plan.unavailable.items():
        stages[name]["problem"] = error_object(problem)
    services = [asdict(service) for service in running_services(settings)]
    daemon = any(service["name"] == "daemon" for service in services)
    return {
        "home": str(settings.home),
        "videos": library.videos.count(),
        "stages": stages,
        "sources": library.sources.counts(),
        "due_videos": len(library.states.due(plan.specs)),
        "free_bytes": free_bytes(settings.media_directory),
        "disks": free_by_disk(settings),
        "services": services,
        "services_down": [
            {"name": name, **asdict(outage)}
            for name, outage in down_servers(settings, [service["name"] for service in services]).items()
        ],
        "by_itself": daemon and settings.sensors.enabled,
        "waiting": list(_waiting(opened)),
    }


def _waiting(opened: OpenLibrary) -> Iterator[str]:
    """Yield what no sensor starts: stages due to a changed setting, model or prompt, and work beyond the budget."""
    from vidpipe.pipeline.budget_note import note_of
    from vidpipe.pipeline.waiting import starts_changed, waiting_sentences

    for step in ("prepare", "describe"):
        stages = [stage for stage in opened.plan.stages if stage.job == step]
        if not starts_changed(opened.settings, step, stages):
            yield from waiting_sentences(opened.library, opened.plan, stages)
    note = note_of(opened.library)
    if note is not None:
        yield note


def _failures(opened: OpenLibrary, limit: int) -> Iterator[dict[str, Any]]:
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


def _failed_sources(opened: OpenLibrary, limit: int) -> Iterator[dict[str, Any]]:
    today = Dependencies.of(opened.settings)
    for number, source in enumerate(opened.library.sources.in_state(*FAILED_SOURCES)):
        if limit and number >= limit:
            return
        yield {
            "url": readable_url(source.url),
            "state": source.state,
            "message": source.last_error or "",
            "attempts": source.attempts,
            "failed_at": source.failed_at,
            "next_try_at": source.next_try_at,
            "due": today.changed_for(source),
        }


def _list_problems(opened: OpenLibrary, limit: int) -> Iterator[dict[str, Any]]:
    """Yield the problems that the sensor found in watched lists when it last read them."""
    problems = ListedSources(opened.library.collections, opened.library.sources).problems()
    for where, sentence in islice(problems, limit or None):
        yield {"where": where, "message": sentence}


FAILED_SOURCES = ("failed", "refused")
_STYLES = {"due": "yellow", "failed": "red", "quarantined": "red"}


def stage_table(stages: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the table of stages and states."""
    made = table("stage", *((state, {"justify": "right"}) for state in STATES))
    for name, counts in stages.items():
        if "problem" in counts:
            made.add_row(name, words("cannot run", "red"))
            continue
        made.add_row(
            name, *(words(counts[state], _STYLES.get(state, "") if counts[state] else "dim") for state in STATES)
        )
    return made


def sentences(result: Mapping[str, Any]) -> Iterator[Text]:
    """Yield the lines below the table."""
    sources = ", ".join(f"{number} {state}" for state, number in sorted(result["sources"].items())) or "none"
    videos = result["videos"]
    yield words(f"{counted(videos, 'video')}; sources: {sources}; {_free_space(result['disks'])}.")
    down = result["services_down"]
    if result["services"] or not down:
        yield words(_services(result["services"]), "" if result["services"] else "dim")
    for one in down:
        yield words(_down(one), "red")
    if {"supervisor", "daemon"} <= {one["name"] for one in down}:
        yield words("  They will not restart automatically: run `vidpipe up`.", "dim")
    for name, counts in result["stages"].items():
        if "problem" in counts:
            yield words(f"Stage {name} cannot run: {counts['problem']['message']}", "red")
            if counts["problem"]["hint"]:
                yield words(f"  {counts['problem']['hint']}", "dim")
    for sentence in result["waiting"]:
        yield words(sentence, "yellow")


def _free_space(disks: Mapping[str, int]) -> str:
    if len(disks) == 1:
        return f"{size(*disks.values())} free"
    return ", ".join(f"{size(free)} free for {folder}" for folder, free in disks.items())


def _down(server: Mapping[str, str]) -> str:
    since = datetime.fromisoformat(server["since"]).astimezone() if server["since"] else None
    reason = f": {server['reason']}" if server["reason"] else "."
    return f"Down: {TITLES[server['name']]}{f' since {since:%Y-%m-%d %H:%M:%S}' if since else ''}{reason}"


def _services(services: list[Mapping[str, Any]]) -> str:
    if not services:
        return "No servers are running; start them with `vidpipe up`."
    known = [f"{one['name']} {one['address']}" if one["address"] else str(one["name"]) for one in services]
    return f"Servers: {', '.join(known)}."


def show_status(result: Mapping[str, Any]) -> None:
    """Print a status returned by `status_of`, with advice."""
    console = out()
    console.print(stage_table(result["stages"]))
    for sentence in sentences(result):
        say(console, sentence)
    for failure in result.get("failed", ()):
        _show_failure(failure["message"], failure["hint"])
    for source in result.get("failed_sources", ()):
        hint = "The setting that blocked it has changed: it is due again." if source["due"] else ""
        _show_failure(source["message"] or source["url"], hint)
    for problem in result.get("list_problems", ()):
        _show_failure(problem["message"], "")
    _advise(result)


def _advise(result: Mapping[str, Any]) -> None:
    if result["due_videos"]:
        by_itself = result["by_itself"]
        what = "processed automatically." if by_itself else "run `vidpipe run`."
        note(f"{counted(result['due_videos'], 'video')} due: {what}")
    failed = any(counts["failed"] + counts["quarantined"] for counts in result["stages"].values())
    failed_sources = any(result["sources"].get(state) for state in FAILED_SOURCES)
    if (failed or failed_sources) and "failed" not in result:
        note("`vidpipe status --failed` lists failures and their reasons.")
    if failed:
        note("`vidpipe run --retry` retries failed stages.")
    if failed_sources and "failed" in result:
        note("`vidpipe add --retry INPUT` retries a source.")


def _show_failure(message: str, hint: str) -> None:
    console = out()
    say(console, words(f"• {message}", "red"))
    if hint:
        say(console, words(f"  {hint}", "dim"))
