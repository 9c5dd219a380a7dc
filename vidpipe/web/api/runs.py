"""Runs: start, progress, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import datetime
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, Header, Path, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from vidpipe.library.runs import Runs, status_of
from vidpipe.runner.job_request import RunJob
from vidpipe.runner.plan import Plan
from vidpipe.runner.preview import RunPreview
from vidpipe.runner.request import RunRequest
from vidpipe.web.access import Reader, Writer
from vidpipe.web.home import Searchable
from vidpipe.web.jobs import FINAL_STATES, Job, RunningJob, ServerJobs
from vidpipe.web.selection import Limit, VideoChoice

router = APIRouter(tags=["runs"])

_POLL_S = 0.2


class RunBody(VideoChoice):
    """What to run; without videos and selection: all that is due.

    Attributes:
        stages: Names of the stages; null: all.
        retry: Retry failed and quarantined videos, too.
        force: Recompute results that are current.
        dry_run: Only return what the run would do.
    """

    choice_required: ClassVar[bool] = False

    stages: list[str] | None = None
    retry: bool = False
    force: bool = False
    dry_run: bool = False


class RecordedRun(BaseModel):
    """A past or present run of any origin: command, page, sensor, schedule, backfill.

    Attributes:
        status: lost: its process died.
        videos: Most videos in one of its stages.
        stages: Stage -> figures, such as computed, failed and seconds.
        sources: Outcome of adding -> number of sources.
    """

    id: str
    job: str = ""
    by: str = ""
    status: str
    began_at: datetime | None = None
    ended_at: datetime | None = None
    videos: int = 0
    stages: dict[str, dict[str, float]] = {}
    sources: dict[str, int] = {}


class RunList(BaseModel):
    """The jobs of this server, without results, and what the library has recorded of runs; the latest first."""

    items: list[Job]
    recorded: list[RecordedRun]


@router.get("/runs")
def list_runs(opened: Searchable, jobs: ServerJobs, caller: Reader, limit: Limit = 50) -> RunList:
    """Return the latest jobs and recorded runs."""
    with opened.library.connection.errors_explained():
        recorded = [
            RecordedRun.model_validate({**run, "id": run["_id"], "status": status_of(run)})
            for run in Runs(opened.library.collections["runs"]).since(limit=limit)
        ]  # fmt: skip
    items = [job.model_copy(update={"result": None}) for job in jobs]
    return RunList(items=items[:limit], recorded=recorded)


@router.post("/runs", status_code=202, responses={200: {"description": "The plan, of a dry run"}})
def start_run(
    body: RunBody, opened: Searchable, jobs: ServerJobs, caller: Writer, response: Response
) -> Job | dict[str, Any]:
    """Bring videos up to date, or return what that would do and cost."""
    names = tuple(body.stages) if body.stages is not None else None
    with closing(Plan.make(opened.library.graph, opened.settings, names)) as plan:  # rejects unknown stages
        ids = None if body.videos is None and body.selection is None else tuple(body.ids(opened.engine))
        force = (
            frozenset(RunRequest(stages=names).stage_names(opened.library.graph.names)) if body.force else frozenset()
        )
        request = RunRequest(videos=ids, stages=names, retry=body.retry, force=force)
        if body.dry_run:
            response.status_code = 200
            with opened.library.connection.errors_explained():
                return RunPreview.of(opened.library, plan, request).as_json()
    return jobs.start(RunJob(request=request), caller.name)


def _found(job_id: Annotated[str, Path(max_length=64, description="Id of the job.")], jobs: ServerJobs) -> RunningJob:
    return jobs[job_id]


#: Comes after the caller, so that who may not know of a job does not learn of it.
_Found = Annotated[RunningJob, Depends(_found)]


@router.get("/runs/{job_id}")
def get_run(caller: Reader, found: _Found) -> Job:
    """Return a job of this server."""
    return found.job


@router.post("/runs/{job_id}/cancel", status_code=202)
def cancel_run(caller: Writer, found: _Found) -> Job:
    """Stop a job; what it has finished stays stored."""
    found.stop()
    return found.job


@router.get("/runs/{job_id}/events", response_class=EventSourceResponse)
async def follow_run(
    caller: Reader,
    found: _Found,
    last_event_id: Annotated[str, Header(max_length=20, description="Continue after it.")] = "",
) -> AsyncIterator[ServerSentEvent]:
    """Send what happens to a job: source, bytes, stage, progress, answer, job; after a final state, the stream ends."""
    last = int(last_event_id) if last_event_id.isdecimal() else 0
    while True:
        for event in found.events(last):
            last = event.id
            yield ServerSentEvent(data=event.data, event=event.name, id=str(event.id))
            if event.name == "job" and event.data["state"] in FINAL_STATES:
                return
        await asyncio.sleep(_POLL_S)
