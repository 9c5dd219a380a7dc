"""The state of a library: stages, sources, servers, failures, and what waits for a person."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from vidpipe.library.library import Library
from vidpipe.library.runs import Runs
from vidpipe.library.sources import ListedSources
from vidpipe.library.states import STATES, State
from vidpipe.library.videos import name_of
from vidpipe.library.workers import Workers
from vidpipe.operations.services.lifecycle import down_servers
from vidpipe.operations.services.lifecycle import status as running_services
from vidpipe.operations.services.service_definitions import TITLES
from vidpipe.runner.budget import budget_note
from vidpipe.runner.due import count_waiting
from vidpipe.runner.plan import Plan, launches_changed, pending_sentences
from vidpipe.safe_files import free_bytes
from vidpipe.settings import free_by_disk
from vidpipe.sources.failures import Dependencies
from vidpipe.sources.urls import readable_url

FAILED_SOURCES = ("failed", "refused")


def status_of(library: Library, plan: Plan) -> dict[str, Any]:
    """Return the status of the library as JSON values."""
    settings = library.settings
    counts = library.states.counts(plan.specs)
    stages: dict[str, Any] = {name: dict(counts.get(name, dict.fromkeys(STATES, 0))) for name in library.graph.names}
    for name, problem in plan.unavailable.items():
        stages.setdefault(name, dict.fromkeys(STATES, 0))["problem"] = problem.as_json()
    services = [asdict(service) | {"title": TITLES[service.name]} for service in running_services(settings)]
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
            {"name": name, "title": TITLES[name], **asdict(outage)}
            for name, outage in down_servers(settings, [service["name"] for service in services]).items()
        ],
        "by_itself": daemon and settings.sensors.enabled,
        "waiting": list(_waiting(library, plan)),
        "workers": _workers(library, plan) if settings.cluster.launcher == "celery" else [],
        "model_servers": Runs(library.collections["runs"]).latest_server_use(),
    }


def _workers(library: Library, plan: Plan) -> list[dict[str, Any]]:
    """Return who takes runs, how many are in progress there, and which stages its settings or rules differ for."""
    found = []
    for worker in Workers(library.collections).present():
        differs = [stage for stage, spec in plan.specs.items() if worker.specs.get(stage, spec) != spec]
        values = asdict(worker) | {"machine": worker.machine, "runs": len(worker.runs), "differs": differs}
        found.append({name: value for name, value in values.items() if name != "specs"})
    return found


def _waiting(library: Library, plan: Plan) -> Iterator[str]:
    """Yield what no sensor starts: stages due to a changed setting, model or prompt, and work beyond the budget."""
    for step in ("prepare", "describe"):
        stages = [stage for stage in plan.stages if stage.job == step]
        if not launches_changed(library.settings, step, stages):
            yield from pending_sentences(library, plan, stages)
    if waiting := count_waiting(library, plan):
        yield f"{waiting:,} of the due videos wait for their original (KeepOriginals = no): `vidpipe run --refetch`."
    note = budget_note(library)
    if note is not None:
        yield note


def failures(library: Library, plan: Plan, limit: int) -> Iterator[dict[str, Any]]:
    """Yield why stages failed, with what to do; at most `limit` of each stage and state, 0 means all."""
    states: tuple[State, ...] = ("failed", "quarantined")
    for stage, spec in plan.specs.items():
        for state in states:
            for document in library.states.in_state(stage, spec, state, limit=limit):
                entry = document["stages"][stage]
                error = entry.get("error") or {}
                yield {
                    "video": document["_id"],
                    "name": name_of(document),
                    "stage": stage,
                    "state": state,
                    "message": error.get("message", ""),
                    "hint": error.get("hint", ""),
                    "attempts": entry.get("attempts", 0),
                    "next_try_at": entry.get("next_try_at"),
                }


def failed_sources(library: Library, limit: int, states: Sequence[str] = FAILED_SOURCES) -> Iterator[dict[str, Any]]:
    """Yield why sources failed; limit 0: all. `states`: ("gone",) for those that their servers say do not exist."""
    today = Dependencies.of(library.settings)
    for source in islice(library.sources.in_state(*states), limit or None):
        yield {
            "id": source.id,
            "url": readable_url(source.url),
            "state": source.state,
            "message": source.last_error or "",
            "attempts": source.attempts,
            "failed_at": source.failed_at,
            "gone_since": source.gone_since,
            "next_try_at": source.next_try_at,
            "due": today.changed_for(source),
        }


def list_problems(library: Library, limit: int) -> Iterator[dict[str, Any]]:
    """Yield the problems that the sensor found in watched lists when it last read them."""
    problems = ListedSources(library.collections, library.sources).problems()
    for where, sentence in islice(problems, limit or None):
        yield {"where": where, "message": sentence}
