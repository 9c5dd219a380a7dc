"""What a job of the library page is asked to do: the line that `vidpipe.pipeline.job_process` reads."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from vidpipe.models.questions import QuestionKind, Scope
from vidpipe.runner.request import RunRequest
from vidpipe.sources.lists import MOST_SEGMENTS
from vidpipe.sources.source_data import Segment


class NewSource(BaseModel):
    """A URL to add.

    Attributes:
        url: http, https or s3.
        title: Of its video.
        labels: Of its video.
        priority: Higher ones are fetched and processed first.
        licence: Of its video.
        segments: Labelled parts of its video.
    """

    url: str = Field(max_length=8192)
    title: str = Field("", max_length=500)
    labels: list[Annotated[str, Field(max_length=200)]] = Field(default=[], max_length=100)
    priority: int | None = Field(None, ge=-1_000_000_000, le=1_000_000_000)
    licence: str | None = Field(None, max_length=500)
    segments: list[Segment] = Field(default=[], max_length=MOST_SEGMENTS)


class AddJob(BaseModel):
    """Add videos, then run all stages over them.

    Attributes:
        inputs: URLs.
        uploads: Uploaded files, which are moved into the media store.
        sources: Ids of recorded sources to try again.
        labels: Of all videos.
        process: Run the stages, too.
    """

    kind: Literal["add"] = "add"
    inputs: list[NewSource] = []
    uploads: list[Path] = []
    sources: list[str] = []
    labels: list[str] = []
    process: bool = True


class RunJob(BaseModel):
    """Bring videos up to date."""

    kind: Literal["run"] = "run"
    request: RunRequest


class AskJob(BaseModel):
    """Ask the describing model about videos; `save` also adds the question to questions.json."""

    kind: Literal["ask"] = "ask"
    videos: list[str]
    question: str
    form: QuestionKind = "text"
    scope: Scope = "video"
    choices: list[str] = []
    save: bool = False


class ForgetJob(BaseModel):
    """Remove videos and everything about them; `by` and `reason` are recorded."""

    kind: Literal["forget"] = "forget"
    videos: list[str]
    by: str = ""
    reason: str = ""


class RulesJob(BaseModel):
    """Plan rules, or apply them.

    Attributes:
        drafts: File -> text; nothing: the files as they are.
        plan: What a plan of these has found, to be applied.
        version: The earlier version to return to instead.
    """

    kind: Literal["plan", "apply"]
    drafts: dict[str, str] = {}
    plan: dict[str, Any] = {}
    version: int | None = None


JobRequest = AddJob | RunJob | AskJob | ForgetJob | RulesJob

JOB_REQUEST: TypeAdapter[JobRequest] = TypeAdapter(Annotated[JobRequest, Field(discriminator="kind")])
