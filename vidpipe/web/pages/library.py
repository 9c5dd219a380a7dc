"""The library page: the videos of a selection, as a grid or a list, with facets to narrow it down."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal
from urllib.parse import quote_plus, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from vidpipe.errors import VidpipeError
from vidpipe.library.states import STATES
from vidpipe.search.grammar import quoted
from vidpipe.text.messages import clock_time
from vidpipe.web.access import Reader
from vidpipe.web.api.videos import SearchResults, TextMatch, VideoSummary, page_of
from vidpipe.web.home import Searchable
from vidpipe.web.pages.rendering import dagster_page, render
from vidpipe.web.problems import http_status
from vidpipe.web.selection import Selected, VideoQuery

router = APIRouter()

View = Literal["grid", "list"]
#: Videos that a page adds to those before.
_PAGE = VideoQuery.limit
#: Facets in the order in which people narrow down; the others follow.
_FIRST_FACETS = ("category", "tag", "label")
#: Matches shown of a video, and characters before the first highlight of one.
_MOST_MATCHES, _LEAD = 3, 24
_ONE_VALUE = re.compile(r'([a-z_]+):"((?:[^"\\]|\\.)*)"', re.DOTALL)


@dataclass(frozen=True)
class LibraryLinks:
    """Addresses of the page with parts of its state changed."""

    selected: VideoQuery
    view: View

    def __call__(self, view: View | None = None, **changes: object) -> str:
        """Return the address of the first page with these changes."""
        query = self.selected.query_string(**{"after": None, "limit": _PAGE, **changes})
        if (view or self.view) == "list":
            query += f"{'&' if query else ''}view=list"
        return f"/?{query}" if query else "/"

    def toggled(self, condition: str) -> str:
        """Return the address with a filter added, or removed if it is there."""
        filters = self.selected.filters
        if condition in filters:
            return self(filters=tuple(one for one in filters if one != condition))
        return quote_plus(condition).join(self._with_filter)

    @cached_property
    def _with_filter(self) -> list[str]:
        """The address with a further filter, up to it and from there on: a page has hundreds of these."""
        return self(filters=(*self.selected.filters, "\0")).rsplit(quote_plus("\0"), 1)

    def video(self, item: VideoSummary, start_s: float | None) -> str:
        """Return the address of a video's page, at the second of a hit."""
        query = {"t": f"{start_s:g}" if start_s else "", "q": self.selected.q}
        stated = urlencode({name: value for name, value in query.items() if value})
        return f"/videos/{item.video}" + (f"?{stated}" if stated else "")


@router.get("/")
def library(
    request: Request,
    opened: Searchable,
    selected: Selected,
    caller: Reader,
    view: Annotated[View, Query(description="How the videos are shown.")] = "grid",
) -> HTMLResponse:
    """Show the videos of a selection."""
    error, status = None, 200
    try:
        found = page_of(opened, selected)
    except VidpipeError as raised:
        error, status = raised, http_status(raised)
        found = SearchResults(items=[], facets={}, total=0, next=None, matched="all", did_you_mean=None, notes=[])
    names = [*_FIRST_FACETS, *(name for name in opened.index.fields.facets if name not in _FIRST_FACETS)]
    return render(
        request, "library.html", status, found=found, selected=selected, view=view, error=error,
        link=LibraryLinks(selected, view),
        facets={name: values_of(name, found.facets.get(name, {}), selected) for name in names},
        states=STATES, condition=condition, shown_filter=shown_filter, matches=matches, pieces=pieces, clock=clock_time,
        stages=opened.library.graph.names, has_meaning=bool(opened.index.fields.vectors) or selected.meaning,
        dagster_url=dagster_page(opened.settings),
    )  # fmt: skip


def values_of(field: str, counts: Mapping[str, int], selected: VideoQuery) -> list[tuple[str, int]]:
    """Return the most frequent values of a facet, first those that are filters."""
    return sorted(counts.items(), key=lambda one: condition(field, one[0]) not in selected.filters)


def condition(field: str, value: str) -> str:
    """Return the filter that a value of a facet is."""
    return f"{field}:{quoted(value)}"


def shown_filter(text: str) -> str:
    """Return a filter for people: without quotation marks, if it is one value of a field."""
    found = _ONE_VALUE.fullmatch(text)
    return f"{found[1]}: " + re.sub(r"\\(.)", r"\1", found[2]) if found else text


def matches(item: VideoSummary) -> list[TextMatch]:
    """Return the places that are shown of a hit: not its name, which is shown anyway."""
    found = (one for one in item.matches if one.text not in (None, item.name, item.title))
    return list(found)[:_MOST_MATCHES]


def pieces(text: str, highlights: Sequence[Sequence[int]]) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a text from shortly before its first highlight on, and whether each is highlighted."""
    at = text.rfind(" ", 0, max(0, highlights[0][0] - _LEAD)) + 1 if highlights else 0
    if at:
        yield "…", False
    for start, end in highlights:
        yield text[at:start], False
        yield text[start:end], True
        at = end
    yield text[at : at + 300], False
