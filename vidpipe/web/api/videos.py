"""Videos: pages of them with facets, and one with everything."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from vidpipe.web.access import Reader
from vidpipe.web.home import Searchable
from vidpipe.web.selection import Selected, Selection

router = APIRouter(tags=["videos"])

#: Values of a facet that a page counts.
MOST_VALUES = 50


class VideoSummary(BaseModel):
    """What lists show of a video."""

    model_config = ConfigDict(extra="allow")

    video: str
    name: str


class VideoPage(BaseModel):
    """A page of videos.

    Attributes:
        items: The videos.
        facets: Field -> value -> number of videos with it, most frequent first.
        total: Number of videos found.
        next: `after` of the next page; None: this is the last.
    """

    items: list[VideoSummary]
    facets: dict[str, dict[str, int]]
    total: int
    next: str | None


def page_of(opened: Searchable, selected: Selection) -> VideoPage:
    """Return the page of a selection."""
    found = selected.find(opened.engine)
    facets = {name: dict(list(values.items())[:MOST_VALUES]) for name, values in found.facets.items()}
    items = [VideoSummary.model_validate(hit) for hit in found.hits]
    return VideoPage(items=items, facets=facets, total=found.total, next=found.next)


@router.get("/videos")
def list_videos(opened: Searchable, selected: Selected, caller: Reader) -> VideoPage:
    """Return the videos that a search and all filters find, with the facets of all of them."""
    return page_of(opened, selected)
