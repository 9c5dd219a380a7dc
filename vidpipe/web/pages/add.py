"""The page that adds videos."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from vidpipe.web.access import Writer
from vidpipe.web.home import Opened
from vidpipe.web.pages.rendering import render

router = APIRouter()


@router.get("/add")
def add(request: Request, opened: Opened, caller: Writer) -> HTMLResponse:
    """Take URLs, lists and files; the jobs `run` of the query string show their progress."""
    return render(request, "add.html", stages=len(opened.plan.stages))
