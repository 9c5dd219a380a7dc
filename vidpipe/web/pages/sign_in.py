"""The page that asks for a key."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from vidpipe.web.pages.rendering import render

router = APIRouter()


@router.get("/login")
def login(request: Request) -> HTMLResponse:
    """Ask for a key."""
    return render(request, "login.html")
