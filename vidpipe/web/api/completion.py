"""Completion of queries while they are written."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from vidpipe.search.completion import Completion, complete
from vidpipe.web.access import Reader
from vidpipe.web.home import Searchable
from vidpipe.web.selection import LONGEST_QUERY, Limit

router = APIRouter(tags=["search"])


class CompletionList(BaseModel):
    """Completions, best first. `start` is that of the first one."""

    items: list[Completion]
    start: int


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
