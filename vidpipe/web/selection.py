"""Which videos a request means: in the query string that pages and API share, and in bodies that act on videos."""

from dataclasses import dataclass, fields, replace
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlencode

from fastapi import Depends, Path, Query
from pydantic import BaseModel, Field, StringConstraints, model_validator

from vidpipe.search.engine import Engine, SearchPage

MAX_LIMIT = 500
#: Most videos that a request can name.
MAX_VIDEOS = 10_000
#: Longest query and filter, and most filters: their cost is bounded.
LONGEST_QUERY, _MOST_FILTERS = 2000, 50

#: SHA-256 of a video, in paths and bodies.
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the video, 64 hex digits.")]
_Query = Annotated[str, StringConstraints(max_length=LONGEST_QUERY)]
#: Parameters of endpoints that answer in pages.
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most items.")]
Asked = Annotated[str | None, Query(max_length=200, description="Only this one, also if the video does not have it.")]
After = Annotated[str | None, Query(max_length=LONGEST_QUERY, description="The `next` of the page before.")]


@dataclass(frozen=True)
class VideoQuery:
    """Which videos a page or an answer of the API shows: the query string of both."""

    q: Annotated[_Query, Query(description="Words and conditions; see docs/search.md.")] = ""
    filters: Annotated[
        tuple[_Query, ...],
        Query(alias="filter", max_length=_MOST_FILTERS, description="A query that must hold, too; repeatable."),
    ] = ()
    order: Annotated[
        Literal["relevance", "date", "duration", "name"],
        Query(description="Order of the videos; relevance without words means date."),
    ] = "relevance"
    meaning: Annotated[bool, Query(description="Find what is nearest in meaning to the words.")] = False
    moments: Annotated[bool, Query(description="Find moments instead of videos.")] = False
    limit: Limit = 50
    after: After = None

    def find(self, engine: Engine) -> SearchPage:
        """Return the page. Raises what `Engine.find` raises."""
        return engine.find(
            self.q, self.filters, meaning=self.meaning, order=self.order, limit=self.limit, after=self.after or None,
            moments=self.moments,
        )  # fmt: skip

    def query_string(self, **changes: object) -> str:
        """Return the selection with `changes` as a query string, without what is the default."""
        changed = replace(self, **changes)  # type: ignore[arg-type]
        pairs: list[tuple[str, str]] = []
        for field in fields(self):
            value = getattr(changed, field.name)
            if value != field.default:
                values = value if isinstance(value, tuple) else (value,)
                key = "filter" if field.name == "filters" else field.name
                pairs += [(key, str(one).lower() if isinstance(one, bool) else str(one)) for one in values]
        return urlencode(pairs)


#: Parameter of endpoints and pages.
Selected = Annotated[VideoQuery, Depends()]


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
