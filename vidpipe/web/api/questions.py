"""Questions to the describing model."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from vidpipe.errors import VidpipeError
from vidpipe.models.questions import QuestionKind, Scope, new_question
from vidpipe.runner.asking import answering_stages
from vidpipe.runner.job_request import AskJob
from vidpipe.web.access import Writer
from vidpipe.web.home import Searchable
from vidpipe.web.jobs import Job, ServerJobs
from vidpipe.web.problems import RequestError
from vidpipe.web.selection import VideoChoice

router = APIRouter(tags=["questions"])


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
    choices: list[str] = Field(default=[], max_length=50)
    scenes: bool = False
    save: bool = False


@router.post("/ask", status_code=202)
def ask(body: QuestionBody, opened: Searchable, jobs: ServerJobs, caller: Writer) -> Job:
    """Ask the describing model about videos; the answers are stored."""
    scope: Scope = "scene" if body.scenes else "video"
    question = new_question(body.question, kind=body.kind, scope=scope, choices=body.choices)
    try:
        answering_stages(opened.plan)
    except VidpipeError as error:
        raise RequestError(409, error.message, error.hint) from None
    job = AskJob(
        videos=body.ids(opened.engine), question=question.text, form=body.kind, scope=scope, choices=body.choices,
        save=body.save,
    )  # fmt: skip
    return jobs.start(job, caller.name)
