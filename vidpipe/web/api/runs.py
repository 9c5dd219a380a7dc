"""Jobs that run stages, ask the model or remove videos; their progress and end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import datetime
from itertools import islice
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, Header, Path
from fastapi.responses import JSONResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from vidpipe.errors import VidpipeError
from vidpipe.library.queries.json_encoding import jsonable
from vidpipe.library.runs import Runs, status_of
from vidpipe.models.questions import QuestionKind, Scope, new_question
from vidpipe.operations.retention.video_removal import ForgottenVideo, forget
from vidpipe.runner.asking import answering_stages
from vidpipe.runner.job_request import AskJob, ForgetJob, RunJob
from vidpipe.runner.plan import Plan
from vidpipe.runner.preview import RunPreview
from vidpipe.runner.request import RunRequest
from vidpipe.settings import audit
from vidpipe.web.access import Admin, Reader, Writer
from vidpipe.web.home import Opened, Searchable
from vidpipe.web.jobs import FINAL_STATES, Job, RunningJob, ServerJobs
from vidpipe.web.problems import RequestError
from vidpipe.web.selection import MAX_VIDEOS, Limit, VideoChoice

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


class QuestionBody(VideoChoice):
    """A question about videos.

    Attributes:
        question: What is asked.
        kind: Form of the answer.
        choices: Possible answers, of kind choice.
        scenes: Ask about each scene instead of the whole video.
        save: Save the question; runs then ask it about every video.
    """

    question: str = Field(min_length=1, max_length=2000)
    kind: QuestionKind = "text"
    choices: list[Annotated[str, Field(max_length=200)]] = Field(default=[], max_length=50)
    scenes: bool = False
    save: bool = False


class RemovalRequest(VideoChoice):
    """Videos to remove.

    Attributes:
        dry_run: Only list what would be removed.
        reason: Why, for the audit record.
    """

    dry_run: bool = False
    reason: str = Field("", max_length=500)


class RemovalPlan(BaseModel):
    """What would be removed."""

    dry_run: bool = True
    videos: list[ForgottenVideo]


class RunPlan(BaseModel, extra="allow"):
    """What a run would do, and how long that takes, as `vidpipe plan --json` writes it.

    Attributes:
        videos: Number of videos with something to do.
        stages: Stage -> number of videos: due, follows, blocked, failed, …; and seconds.
        model: What the describing model would be asked and what that costs; null: nothing.
        seconds: Work, as far as it was measured before.
        wall_seconds: Time that passes until the end.
        unmeasured: Stages of unknown speed.
        changed: Stage -> what made its results out of date.
        budget: Use of the budget; null: there is no limit.
        problems: Stage -> why it cannot run.
    """

    videos: int
    stages: dict[str, dict[str, Any]]
    model: dict[str, Any] | None
    seconds: float
    wall_seconds: float
    unmeasured: list[str]
    changed: dict[str, Any]
    budget: dict[str, Any] | None
    problems: dict[str, Any]


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
def list_runs(opened: Opened, jobs: ServerJobs, caller: Reader, limit: Limit = 50) -> RunList:
    """Return the latest jobs and recorded runs."""
    recorded = [
        RecordedRun.model_validate({**run, "id": run["_id"], "status": status_of(run)})
        for run in Runs(opened.library.collections["runs"]).since(limit=limit)
    ]  # fmt: skip
    items = [job.model_copy(update={"result": None}) for job in islice(jobs, limit)]
    return RunList(items=items, recorded=recorded)


@router.post(
    "/runs", status_code=202, response_model=Job,
    responses={200: {"description": "The plan, of a dry run", "model": RunPlan}},
)  # fmt: skip
def start_run(body: RunBody, opened: Searchable, jobs: ServerJobs, caller: Writer) -> Job | Response:
    """Bring videos up to date, or return what that would do and cost."""
    names = tuple(body.stages) if body.stages is not None else None
    with closing(Plan.make(opened.library.graph, opened.settings, names)) as plan:  # rejects unknown stages
        ids = None if body.videos is None and body.selection is None else tuple(body.ids(opened.engine))
        request = RunRequest(videos=ids, stages=names, retry=body.retry)
        if body.force:
            forced = frozenset(request.stage_names(opened.library.graph.names))
            request = request.model_copy(update={"force": forced})
        if body.dry_run:
            preview = RunPreview.of(opened.library, plan, request).as_json()
            return JSONResponse(jsonable(preview))
    return jobs.start(RunJob(request=request), caller.name)


@router.post("/ask", status_code=202)
def ask_question(body: QuestionBody, opened: Searchable, jobs: ServerJobs, caller: Writer) -> Job:
    """Ask the describing model about videos; the answers are stored."""
    scope: Scope = "scene" if body.scenes else "video"
    question = new_question(body.question, kind=body.kind, scope=scope, choices=body.choices)
    try:
        answering_stages(opened.plan)
    except VidpipeError as error:  # a matter of settings, not of time
        raise RequestError(409, error.message, error.hint) from None
    ids, choices = body.ids(opened.engine), body.choices
    job = AskJob(videos=ids, question=question.text, form=body.kind, scope=scope, choices=choices, save=body.save)
    return jobs.start(job, caller.name)


@router.post(
    "/forget", status_code=202, response_model=Job,
    responses={200: {"description": "The videos, of a dry run", "model": RemovalPlan}},
)  # fmt: skip
def forget_videos(body: RemovalRequest, opened: Searchable, jobs: ServerJobs, caller: Admin) -> Job | Response:
    """Remove videos and everything about them. Backups are kept."""
    ids = body.ids(opened.engine)
    if len(ids) > MAX_VIDEOS:
        raise RequestError(413, f"{len(ids)} videos are selected; at most {MAX_VIDEOS} can be removed at once.")
    if body.dry_run:
        found = RemovalPlan(videos=forget(opened.library, ids, lambda _: None, dry_run=True))
        return JSONResponse(found.model_dump(mode="json"))
    audit("forget requested", by=caller.name, videos=ids)
    return jobs.start(ForgetJob(videos=ids, by=caller.name, reason=body.reason), caller.name)


def _found(job_id: Annotated[str, Path(max_length=64, description="Id of the job.")], jobs: ServerJobs) -> RunningJob:
    return jobs[job_id]


#: Parameter of endpoints, after the caller: who has no key does not learn which jobs there are.
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
