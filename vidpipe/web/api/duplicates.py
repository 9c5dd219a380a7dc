"""Near-duplicates: groups of copies, parts of longer videos, and decisions that two videos are none."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from vidpipe.datasets.duplicates.decisions import DistinctPair, distinct_pairs, mark_distinct, withdraw_distinct
from vidpipe.datasets.duplicates.library import Duplicates, duplicates_of
from vidpipe.library.verdicts import Note
from vidpipe.web.access import Reader, Writer
from vidpipe.web.home import Home, Opened
from vidpipe.web.problems import RequestError
from vidpipe.web.selection import After, Limit, Sha256

router = APIRouter(prefix="/duplicates", tags=["duplicates"])

_Why = Annotated[Note, Query(description="Why they are no duplicates.")]


@router.get("")
def list_duplicates(home: Home, opened: Opened, caller: Reader, after: After = None, limit: Limit = 50) -> Duplicates:
    """Return groups of copies, and parts of longer videos, among the videos that have a fingerprint."""
    matches = home.duplicates.get(opened.library)
    if matches is None:
        raise RequestError(503, "The videos are being compared.", "Ask again in a minute.", {"Retry-After": "30"})
    return duplicates_of(opened.library, matches, after=after, limit=limit)


@router.get("/distinct")
def list_distinct(opened: Opened, caller: Reader) -> list[DistinctPair]:
    """Return the pairs of videos that people said are no duplicates."""
    return distinct_pairs(opened.library)


@router.put("/distinct/{video}/{other}")
def put_distinct(video: Sha256, other: Sha256, opened: Opened, caller: Writer, note: _Why = "") -> DistinctPair:
    """Remember that two videos are no duplicates."""
    return mark_distinct(opened.library, DistinctPair(video=video, other=other, by=caller.name, note=note))


@router.delete("/distinct/{video}/{other}", status_code=204)
def delete_distinct(video: Sha256, other: Sha256, opened: Opened, caller: Writer) -> Response:
    """Withdraw what was said of two videos."""
    if not withdraw_distinct(opened.library, video, other, caller.name):
        raise RequestError(404, "Nothing was said of these two videos.", "GET /api/v1/duplicates/distinct lists all.")
    return Response(status_code=204)
