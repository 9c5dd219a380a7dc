"""The settings page."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from vidpipe.web.access import Reader
from vidpipe.web.api.settings import FILES, FileName, effective_settings
from vidpipe.web.home import Opened
from vidpipe.web.pages.rendering import render

router = APIRouter()


@router.get("/settings")
def settings(
    request: Request, opened: Opened, caller: Reader, file: Annotated[FileName | None, Query()] = None
) -> HTMLResponse:
    """Show the settings in force, or, to administrators, a file to edit."""
    files = FILES if caller.may("admin") else ()
    found = effective_settings(opened, caller, request)
    return render(request, "settings.html", files=files, file=file if file in files else None, found=found)
