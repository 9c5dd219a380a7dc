"""The review page: a contact sheet for one tag."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from vidpipe.web.access import Reader
from vidpipe.web.api import verdicts
from vidpipe.web.home import Searchable
from vidpipe.web.pages.rendering import render

router = APIRouter()


@router.get("/review")
def review(
    request: Request, opened: Searchable, wanted: Annotated[verdicts.Review, Query()], caller: Reader
) -> HTMLResponse:
    """Show videos with a tag, to be judged."""
    return render(request, "review.html", tags=verdicts.tags_of(opened), wanted=wanted)
