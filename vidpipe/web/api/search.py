"""Search, with moments and what is similar, and completion of queries while they are written."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from vidpipe.library.queries.show import stored_fields
from vidpipe.search.completion import Completion, complete
from vidpipe.web.access import Reader
from vidpipe.web.api.videos import SearchResults, VideoSummary, page_of
from vidpipe.web.home import Searchable
from vidpipe.web.selection import LONGEST_QUERY, Limit, Selected, Sha256

router = APIRouter(tags=["search"])


class FacetCounts(BaseModel):
    """Field -> value -> number of videos with it, most frequent first; and the number of videos found."""

    facets: dict[str, dict[str, int]]
    total: int


class CompletionList(BaseModel):
    """Completions, best first. `start` is that of the first one."""

    items: list[Completion]
    start: int


class SimilarVideos(BaseModel):
    """Videos, the most similar first."""

    items: list[VideoSummary]


@router.get("/search")
def search_videos(opened: Searchable, selected: Selected, caller: Reader) -> SearchResults:
    """Return what `/videos` does, and how it was found."""
    return page_of(opened, selected)


@router.get("/facets")
def get_facets(opened: Searchable, selected: Selected, caller: Reader) -> FacetCounts:
    """Count the values of all fields among the videos that a search and all filters find."""
    found = replace(selected, limit=1, after=None).find(opened.engine)
    return FacetCounts(facets=found.facets, total=found.total)


@router.get("/videos/{sha256}/similar")
def similar_videos(opened: Searchable, sha256: Sha256, caller: Reader, limit: Limit = 12) -> SimilarVideos:
    """Return the videos nearest in meaning to this one."""
    stored_fields(opened.library, sha256)
    found = opened.engine.find(like=sha256, limit=limit, facets=False)
    return SimilarVideos.model_validate({"items": found.hits})


@router.get("/complete")
def complete_query(
    opened: Searchable,
    caller: Reader,
    q: Annotated[str, Query(max_length=LONGEST_QUERY, description="A query as written so far.")] = "",
    limit: Limit = 20,
) -> CompletionList:
    """Complete the last word or value of a query: fields, their values, saved searches and words of the library."""
    items = complete(q, opened.index, limit)
    return CompletionList(items=items, start=items[0].start if items else len(q))
