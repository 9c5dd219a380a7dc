"""The settings page."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from vidpipe.web.access import Reader
from vidpipe.web.api.settings import FILES
from vidpipe.web.pages.rendering import render

router = APIRouter()


@router.get("/settings")
def settings(request: Request, caller: Reader) -> HTMLResponse:
    """Show the settings in force; administrators edit them here."""
    return render(request, "settings.html", files=FILES if caller.may("admin") else ())
