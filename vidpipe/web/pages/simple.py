"""Pages that are little more than a template: most of what they show, their scripts take from the API."""

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from vidpipe.datasets.duplicates.library import compared_videos
from vidpipe.library.api_keys import ApiKeys
from vidpipe.text.messages import clock_time
from vidpipe.web.access import Reader, Writer
from vidpipe.web.api.duplicates import list_distinct, list_duplicates
from vidpipe.web.api.settings import FILES, FileName, get_settings, read_file
from vidpipe.web.api.verdicts import Review, list_tags_to_review
from vidpipe.web.home import Home, Opened, Searchable
from vidpipe.web.pages.rendering import render
from vidpipe.web.problems import RequestError
from vidpipe.web.selection import After

router = APIRouter()

#: Decisions that the page of duplicates lists; the API lists all.
_MOST_DECIDED = 200


@router.get("/review")
def review(request: Request, opened: Searchable, wanted: Annotated[Review, Query()], caller: Reader) -> HTMLResponse:
    """Show videos with a tag, to be judged."""
    return render(request, "review.html", tags=list_tags_to_review(opened, caller), wanted=wanted)


@router.get("/duplicates")
def duplicates(request: Request, home: Home, opened: Opened, caller: Reader, after: After = None) -> HTMLResponse:
    """Show groups of copies and parts of longer videos, and what was decided about them."""
    found, pairs = None, list_distinct(opened, caller)[:_MOST_DECIDED]
    with suppress(RequestError):  # they are being compared
        found = list_duplicates(home, opened, caller, after=after)
    names = compared_videos(opened.library, {video for one in pairs for video in (one.video, one.other)})
    return render(request, "duplicates.html", found=found, pairs=pairs, names=names, clock=clock_time,
                  writes=caller.may("write"))  # fmt: skip


@router.get("/add")
def add(request: Request, opened: Opened, caller: Writer) -> HTMLResponse:
    """Take URLs, lists and files; the jobs `run` of the query string show their progress."""
    return render(request, "add.html", stages=len(opened.plan.stages))


@router.get("/status")
def status(request: Request, caller: Reader) -> HTMLResponse:
    """Show stages, queue, failures, and what waits for a person."""
    return render(request, "status.html")


@router.get("/settings")
def settings(
    request: Request, home: Home, opened: Opened, caller: Reader, file: Annotated[FileName | None, Query()] = None
) -> HTMLResponse:
    """Show the settings in force, or, to administrators, a file to edit."""
    files = FILES if caller.may("admin") else ()
    found, file = get_settings(home, opened, caller), file if file in files else None
    text = read_file(file, home, opened, caller, answer := Response()).text if file else ""
    etag = answer.headers["ETag"] if file else ""
    return render(request, "settings.html", files=files, file=file, found=found, text=text, etag=etag)


@router.get("/login")
def login(request: Request, opened: Opened) -> HTMLResponse:
    """Ask for a key."""
    any_key = next(ApiKeys(opened.library.collections).all(), None) is not None
    return render(request, "login.html", any_key=any_key)


@router.get("/api/docs")
def api_docs(request: Request) -> HTMLResponse:
    """Show the OpenAPI document for people."""
    return render(request, "api_docs.html", document=request.app.openapi())
