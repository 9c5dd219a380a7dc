"""The page that asks for a key."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from vidpipe.library.api_keys import ApiKeys
from vidpipe.web.home import Opened
from vidpipe.web.pages.rendering import render

router = APIRouter()


@router.get("/login")
def login(request: Request, opened: Opened) -> HTMLResponse:
    """Ask for a key."""
    with opened.library.connection.errors_explained():
        any_key = next(ApiKeys(opened.library.collections).all(), None) is not None
    return render(request, "login.html", any_key=any_key)
