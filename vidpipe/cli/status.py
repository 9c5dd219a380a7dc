"""vidpipe status: the state of the library."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any

import typer

from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import print_json
from vidpipe.cli.status_view import FAILED_SOURCES, show_status
from vidpipe.cli.status_watch import watch_status
from vidpipe.errors import SettingsError
from vidpipe.library.sources import ListedSources
from vidpipe.library.states import STATES
from vidpipe.operations.services.lifecycle import down_servers
from vidpipe.operations.services.lifecycle import status as running_services
from vidpipe.safe_files import free_bytes
from vidpipe.settings import free_by_disk
from vidpipe.sources.failures import Dependencies
from vidpipe.sources.urls import readable_url


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
        stages.setdefault(name, dict.fromkeys(STATES, 0))["problem"] = problem.as_json()
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
    from vidpipe.runner.budget import budget_note
    from vidpipe.runner.plan import launches_changed, pending_sentences

    for step in ("prepare", "describe"):
        stages = [stage for stage in opened.plan.stages if stage.job == step]
        if not launches_changed(opened.settings, step, stages):
            yield from pending_sentences(opened.library, opened.plan, stages)
    note = budget_note(opened.library)
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
