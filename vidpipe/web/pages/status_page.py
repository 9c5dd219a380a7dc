"""The status page."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from vidpipe.web.access import Reader
from vidpipe.web.pages.rendering import render

router = APIRouter()


@router.get("/status")
def status(request: Request, caller: Reader) -> HTMLResponse:
    """Show stages, queue, failures, and what waits for a person."""
    return render(request, "status.html")
