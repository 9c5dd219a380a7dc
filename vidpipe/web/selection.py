"""Which videos a request means: in the query string that pages and API share, and in bodies that act on videos."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlencode

from fastapi import Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from vidpipe.search.engine import Engine, SearchPage

MAX_LIMIT = 500
#: Most videos that a request can name.
MAX_VIDEOS = 10_000
#: Longest query and filter, and most filters: their cost is bounded.
LONGEST_QUERY, _MOST_FILTERS = 2000, 50


class Selection(BaseModel):
    """Which videos a page or an answer of the API shows.

    Attributes:
        q: Words and conditions, as `vidpipe search` takes them.
        filters: Further queries that must hold, such as `tag:dark`; the facets of the page are such filters.
        order: Of the videos; relevance without words means date.
        meaning: Find what is nearest in meaning to the words.
        moments: Find moments instead of videos.
        limit: Most items.
        after: The `next` of the page before.
    """

    model_config = ConfigDict(frozen=True)

    q: str = ""
    filters: tuple[str, ...] = ()
    order: Literal["relevance", "date", "duration", "name"] = "relevance"
    meaning: bool = False
    moments: bool = False
    limit: int = 50
    after: str | None = None

    def find(self, engine: Engine, *, facets: bool = True, like: str = "") -> SearchPage:
        """Return the page. Raises what `Engine.find` raises."""
        return engine.find(
            self.q, self.filters, meaning=self.meaning, like=like, order=self.order, limit=self.limit,
            after=self.after, moments=self.moments, facets=facets,
        )  # fmt: skip

    def query_string(self, **changes: object) -> str:
        """Return the selection with `changes` as a query string, without what is the default."""
        changed = self.model_copy(update=changes)
        pairs: list[tuple[str, str]] = []
        for name, value in changed:
            if value != type(self).model_fields[name].default:
                values = value if isinstance(value, tuple) else (value,)
                key = "filter" if name == "filters" else name
                pairs += [(key, str(one).lower() if isinstance(one, bool) else str(one)) for one in values]
        return urlencode(pairs)


#: Parameters of endpoints that answer in pages.
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most items.")]
After = Annotated[str | None, Query(max_length=LONGEST_QUERY, description="The `next` of the page before.")]


def _selection(
    *,
    q: Annotated[str, Query(max_length=LONGEST_QUERY, description="Words and conditions; see docs/search.md.")] = "",
    filters: Annotated[
        list[Annotated[str, Query(max_length=LONGEST_QUERY)]] | None,
        Query(alias="filter", max_length=_MOST_FILTERS, description="A query that must hold, too; repeatable."),
    ] = None,
    order: Annotated[
        Literal["relevance", "date", "duration", "name"],
        Query(description="Order of the videos; relevance without words means date."),
    ] = "relevance",
    meaning: Annotated[bool, Query(description="Find what is nearest in meaning to the words.")] = False,
    moments: Annotated[bool, Query(description="Find moments instead of videos.")] = False,
    limit: Limit = 50,
    after: After = None,
) -> Selection:
    return Selection(
        q=q,
        filters=tuple(filters or ()),
        order=order,
        meaning=meaning,
        moments=moments,
        limit=limit,
        after=after or None,
    )


#: Parameter of endpoints and pages.
Selected = Annotated[Selection, Depends(_selection)]


#: Path parameter of endpoints, and field of bodies.
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the video, 64 hex digits.")]
_Query = Annotated[str, StringConstraints(max_length=LONGEST_QUERY)]


class SearchChoice(BaseModel):
    """All videos that a search finds; every word must match.

    Attributes:
        q: Words and conditions, as `vidpipe search` takes them; empty: all videos.
        filters: Further queries that must hold.
    """

    q: _Query = ""
    filters: list[_Query] = Field(default=[], max_length=_MOST_FILTERS)


class VideoChoice(BaseModel):
    """Body of requests that act on videos: either `videos` or `selection`.

    Attributes:
        videos: The sha256 of each video.
        selection: The videos that a search finds.
    """

    #: Whether one of them must be given.
    choice_required: ClassVar[bool] = True

    videos: list[Sha256] | None = Field(None, max_length=MAX_VIDEOS)
    selection: SearchChoice | None = None

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        given = (self.videos is not None) + (self.selection is not None)
        if given > 1 or (self.choice_required and not given):
            raise ValueError("give either videos or selection")
        return self

    def ids(self, engine: Engine) -> list[str]:
        """Return the sha256 of each video, none twice; none if neither was given. Raises what `Engine.ids` raises."""
        if self.selection is not None:
            return engine.ids(self.selection.q, self.selection.filters)
        return list(dict.fromkeys(self.videos or ()))
