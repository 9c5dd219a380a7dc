"""vidpipe status: how far the library is, once or again and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any

import typer

from vidpipe.cli.call import Opened, opened
from vidpipe.cli.options import Json
from vidpipe.cli.output import error_object, print_json
from vidpipe.cli.status_view import FAILED_SOURCES, show
from vidpipe.errors import SettingsError


def status(
    context: typer.Context,
    failed: Annotated[
        bool, typer.Option("--failed", help="List what failed: video, stage, why, and what to do.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Most failures listed a stage; 0: all.")] = 50,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch",
            min=0.2,
            max=86400,
            metavar="[SECONDS]",
            help="Look again every so many seconds (2), with runs, queue, rates and new failures, until Ctrl-C.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Per stage how many videos are current, due, blocked, failed and quarantined; the sources by state; which servers
    run, and what waits for a person.
    """
    if watch is not None and failed:
        raise SettingsError("--failed and --watch do not go together.", "--watch shows new failures by itself.")
    with opened(context) as library:
        if watch is not None:
            from vidpipe.cli.watching import watch_status

            watch_status(library, watch, status_of, as_json=as_json)
            return
        result = status_of(library)
        if failed:
            result["failed"] = list(_failures(library, limit))
            result["failed_sources"] = list(_failed_sources(library, limit))
            result["list_problems"] = list(_list_problems(library, limit))
    if as_json:
        print_json(result)
    else:
        show(result)


def status_of(opened: Opened) -> dict[str, Any]:
    from vidpipe.library.states import STATES
    from vidpipe.services.station import down_servers
    from vidpipe.services.station import status as running_services
    from vidpipe.settings import free_by_disk, free_bytes

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


def _waiting(opened: Opened) -> Iterator[str]:
    """What no sensor starts: what a changed setting, model or prompt made due, and what is beyond the budget."""
    from vidpipe.pipeline.waiting import starts_changed, waiting_sentences
    from vidpipe.runner.budget import budget_note

    for step in ("prepare", "describe"):
        stages = [stage for stage in opened.plan.stages if stage.job == step]
        if not starts_changed(opened.settings, step, stages):
            yield from waiting_sentences(opened.library, opened.plan, stages)
    note = budget_note(opened.library)
    if note is not None:
        yield note


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
    from vidpipe.ingest.dependencies import Dependencies
    from vidpipe.ingest.urls import readable_url

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


def _list_problems(opened: Opened, limit: int) -> Iterator[dict[str, Any]]:
    """What the sensor could not read in the watched lists when it last looked."""
    from vidpipe.library.listed_sources import ListedSources

    problems = ListedSources(opened.library.collections, opened.library.sources).problems()
    for where, sentence in islice(problems, limit or None):
        yield {"where": where, "message": sentence}
