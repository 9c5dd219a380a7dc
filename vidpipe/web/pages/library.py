"""The library page: the videos of a selection, as a grid or a list."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from vidpipe.web.access import Reader
from vidpipe.web.api import videos
from vidpipe.web.home import Searchable
from vidpipe.web.pages.rendering import render
from vidpipe.web.selection import Selected

router = APIRouter()


@router.get("/")
def library(request: Request, opened: Searchable, selected: Selected, caller: Reader) -> HTMLResponse:
    """Show the videos of a selection."""
    return render(request, "library.html", page=videos.page_of(opened, selected), selected=selected)
