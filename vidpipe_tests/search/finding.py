"""Searches of a library, each with the index caught up."""

from __future__ import annotations

from typing import Any

from vidpipe.library.library import Library
from vidpipe.search.engine import Engine, SearchPage
from vidpipe.search.index import SearchIndex


def found(library: Library, query: str = "", *filters: str) -> list[str]:
    """The hashes of all videos found."""
    with SearchIndex.open(library) as index:
        return Engine(library, {}, index).ids(query, filters)


def page_of(library: Library, query: str = "", *filters: str, **options: Any) -> SearchPage:
    """The first page."""
    with SearchIndex.open(library) as index:
        return Engine(library, options.pop("specs", {}), index).find(query, filters, **options)
