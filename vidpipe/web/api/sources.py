"""Sources: adding URLs, lists and uploads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from vidpipe.errors import VidpipeError, readable
from vidpipe.network.addresses import AddressPolicy
from vidpipe.runner.job_request import AddJob, NewSource
from vidpipe.settings import Settings
from vidpipe.sources.fetchers.registry import schemes
from vidpipe.sources.list_files import CSV_SUFFIXES, LIST_SUFFIXES, csv_lines, decoded, encoding_notes, is_table
from vidpipe.sources.lists import ColumnMeaning, Lines, ListProblem, text_lines
from vidpipe.sources.records import SourceRecord, SourceState
from vidpipe.sources.source_request import request_for, url_scheme
from vidpipe.web.access import Reader, Writer
from vidpipe.web.api.uploads import find_upload
from vidpipe.web.home import Opened
from vidpipe.web.jobs import Job, ServerJobs
from vidpipe.web.problems import RequestError
from vidpipe.web.selection import After, Limit

router = APIRouter(tags=["sources"])

_MOST_SOURCES = 10_000
_Id = Annotated[str, Field(max_length=64)]


class SourcesBody(BaseModel):
    """What to add.

    Attributes:
        inputs: URLs, of files of other machines.
        uploads: Ids of finished uploads.
        labels: Of all videos.
        process: Then run all stages over the videos.
    """

    inputs: list[NewSource] = Field(default=[], max_length=_MOST_SOURCES)
    uploads: list[_Id] = Field(default=[], max_length=1000)
    labels: list[Annotated[str, Field(max_length=200)]] = Field(default=[], max_length=100)
    process: bool = True


class RetryBody(BaseModel):
    """Ids of sources to try again."""

    ids: list[_Id] = Field(min_length=1, max_length=_MOST_SOURCES)


class SourcePage(BaseModel):
    """Sources, the latest first; `next` is `after` of the next page."""

    items: list[SourceRecord]
    next: str | None


class ListedRow(NewSource):
    """How a line was understood; one with an error cannot be added."""

    line: int
    url: str = ""
    error: str = ""


class ListPreview(BaseModel):
    """How a list was understood.

    Attributes:
        columns: Column of a table -> what it means.
        total: Number of rows.
        errors: Number of rows that cannot be added.
        notes: Messages about the list as a whole.
    """

    columns: dict[str, ColumnMeaning]
    rows: list[ListedRow]
    total: int
    errors: int
    notes: list[str]


def _check(text: str, policy: AddressPolicy) -> None:
    """Raise a VidpipeError unless `text` is a URL that may be fetched for a request: no file of this machine."""
    if url_scheme(text) not in schemes():
        raise VidpipeError(f"This is not a URL of these kinds: {', '.join(schemes())}.", "Upload your own files.")
    request = request_for(text, quoted=False)
    if request.kind == "http":
        policy.check_url(request.url.reveal())


@router.post("/sources", status_code=202)
def add_sources(body: SourcesBody, opened: Opened, jobs: ServerJobs, caller: Writer) -> Job:
    """Add URLs and finished uploads, then run all stages over what became of them."""
    policy = AddressPolicy(opened.settings.download.allowed_private)
    for number, one in enumerate(body.inputs, start=1):
        try:
            _check(one.url, policy)
        except VidpipeError as error:
            raise RequestError(422, f"Input {number}: {error.message}", error.hint) from None
    uploads = [find_upload(opened.settings, one, caller.name) for one in dict.fromkeys(body.uploads)]
    if unfinished := [one.name for one in uploads if one.offset != one.length]:
        raise RequestError(409, f"The upload of {unfinished[0]} is not finished.", "Resume it first.")
    if not body.inputs and not uploads:
        raise RequestError(422, "There is nothing to add.", "Give inputs or uploads.")
    files = [one.file for one in uploads]
    job = AddJob(inputs=body.inputs, uploads=files, labels=body.labels, process=body.process)
    return jobs.start(job, caller.name)


@router.get("/sources")
def list_sources(
    opened: Opened,
    caller: Reader,
    state: Annotated[SourceState | None, Query(description="Only these.")] = None,
    after: After = None,
    limit: Limit = 50,
) -> SourcePage:
    """Return sources with their state, and the error, remedy and next try of those that failed."""
    items = opened.library.sources.latest(state, after=after, limit=limit)
    return SourcePage(items=items, next=items[-1].id if len(items) == limit else None)


@router.post("/sources/retry", status_code=202)
def retry_sources(body: RetryBody, jobs: ServerJobs, caller: Writer) -> Job:
    """Try sources again."""
    return jobs.start(AddJob(sources=body.ids), caller.name)


_TEXT = {"schema": {"type": "string"}}
_LIST_BODY = {"requestBody": {"content": {"text/plain": _TEXT, "text/csv": _TEXT}, "required": True}}


@router.post("/sources/preview", openapi_extra=_LIST_BODY)
async def preview_list(
    request: Request,
    opened: Opened,
    caller: Writer,
    name: Annotated[str, Query(max_length=255, description="Name of the file.")] = "",
) -> ListPreview:
    """Return how a list (CSV, or one URL a line) is understood. Nothing is added."""
    return await to_thread.run_sync(_preview, await request.body(), name, opened.settings)


def _preview(data: bytes, name: str, settings: Settings) -> ListPreview:
    name = name or "The list"
    if len(data.splitlines()) > 3 * _MOST_SOURCES:  # with comments; millions of lines take seconds to understand
        raise RequestError(413, "The list has too many lines.", f"Split it into lists of {_MOST_SOURCES}.")
    try:
        text = decoded(data, name)
        if "${VIDPIPE_SOURCE_" in text:  # the reader would fill in secrets of the server
            raise VidpipeError("${VIDPIPE_SOURCE_…} is allowed only in the lists of this machine.", "Write the URLs.")
        suffix = Path(name).suffix.lower()
        table = suffix in CSV_SUFFIXES or (suffix not in LIST_SUFFIXES and is_table(text, settings.lists))
        lines = csv_lines(text, name, settings.lists) if table else text_lines(text)
    except VidpipeError as error:
        raise RequestError(422, error.message, error.hint) from None
    if len(lines.keys) > _MOST_SOURCES:
        raise RequestError(413, f"The list has {len(lines.keys)} rows.", f"Split it into lists of {_MOST_SOURCES}.")
    rows = list(_rows(lines, AddressPolicy(settings.download.allowed_private)))
    errors = sum(bool(row.error) for row in rows)
    notes = list(encoding_notes(text, name))
    return ListPreview(columns=lines.columns, rows=rows, total=len(rows), errors=errors, notes=notes)


def _rows(lines: Lines, policy: AddressPolicy) -> Iterator[ListedRow]:
    for one in lines:
        if isinstance(one, ListProblem):
            yield ListedRow(line=one.line, error=one.sentence)
            continue
        row = ListedRow.model_construct(line=one.line, url=readable(one.text), title=one.title or "")
        row.labels, row.priority = list(one.labels), one.priority
        row.licence, row.segments = one.licence, list(one.segments)
        try:
            _check(one.text, policy)
        except VidpipeError as error:
            row.error = str(error)
        yield row
