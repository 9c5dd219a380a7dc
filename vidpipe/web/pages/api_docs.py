"""The page that describes the API."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from vidpipe.web.pages.rendering import render

router = APIRouter()


@router.get("/api/docs")
def api_docs(request: Request) -> HTMLResponse:
    """Show the OpenAPI document for people."""
    return render(request, "api_docs.html", document=request.app.openapi())
