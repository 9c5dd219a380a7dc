"""Videos: pages of them with facets, and one with everything."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, computed_field

from vidpipe.library.queries.explain import Reasons, reasons
from vidpipe.library.queries.history import history
from vidpipe.library.queries.json_encoding import to_json
from vidpipe.library.queries.show import answers_of, stored_fields, view
from vidpipe.library.schema import Document
from vidpipe.library.states import State
from vidpipe.operations.kept_home import OpenHome
from vidpipe.web.access import Reader
from vidpipe.web.api.video_details import AnswerList, SceneList, VideoDetails
from vidpipe.web.home import Opened, Searchable
from vidpipe.web.selection import After, Asked, Limit, Selected, Sha256, VideoQuery

router = APIRouter(tags=["videos"])

#: Values of a facet that a page counts.
MOST_VALUES = 50


class TextMatch(BaseModel):
    """Where a text matches a query.

    Attributes:
        matched_in: Name of the field.
        start_s: Start of the part of the video that it belongs to; null: the whole video.
        end_s: End of that part.
        text: The text, or an extract.
        highlights: First character and end of each matching word in it.
    """

    matched_in: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    text: str | None = None
    highlights: list[tuple[int, int]] = []


class VideoSummary(TextMatch):
    """What lists and searches show of a video; a search adds its score and its best match.

    Attributes:
        video: SHA-256 of the video.
        name: File name.
        title: Title according to its sources, else to its file.
        labels: Labels of its sources.
        added_at: When it was added.
        duration_s: Duration.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        resolution: HD, Full HD, …
        video_codec: Video codec.
        scenes: Number of scenes.
        thumbnail: Path of the poster, relative to the home; null: none has been made.
        damage: What is missing from the file or cannot be decoded.
        category: Category.
        sentiment: positive, neutral, negative or no basis.
        tags: Tags, in order.
        description: Description.
        urls: URLs of its sources.
        state: The worst of the states of its stages.
        score: By relevance, of a search with words.
        matches: The best matches.
    """

    video: str
    name: str
    title: str | None
    labels: list[str]
    added_at: datetime | None
    duration_s: float | None
    width: int | None
    height: int | None
    resolution: str | None
    video_codec: str | None
    scenes: int | None
    thumbnail: str | None
    damage: str | None
    category: str | None
    sentiment: str | None
    tags: list[str]
    description: str | None
    urls: list[str]
    state: State
    score: float | None = None
    matches: list[TextMatch] = []

    @computed_field  # type: ignore[prop-decorator]
    @property
    def thumbnail_url(self) -> str | None:
        """Address of the poster, which browsers may keep: it changes with the picture."""
        version = (self.thumbnail or "").rpartition("/")[0].rpartition("/")[2]
        return f"/api/v1/videos/{self.video}/thumbnail?v={version}" if version else None


class VideoPage(BaseModel):
    """A page of videos.

    Attributes:
        items: The videos; with moments, one for each moment.
        facets: Field -> value -> number of videos with it, most frequent first.
        total: Number of videos found.
        next: `after` of the next page; null: this is the last.
    """

    items: list[VideoSummary]
    facets: dict[str, dict[str, int]]
    total: int
    next: str | None


class SearchResults(VideoPage):
    """A page of videos, and how they were found.

    Attributes:
        matched: any: no video has all words, these have at least one. meaning: these are similar in meaning.
        did_you_mean: The query with misspelled words corrected; null: there is nothing to correct.
        notes: Sentences for the user.
    """

    matched: Literal["all", "any", "meaning"]
    did_you_mean: str | None
    notes: list[str]


class HistoryEntry(BaseModel, extra="allow"):
    """A commit of a stage, a change of a tag or category, or a verdict.

    A commit has `status`, `changed` and `error`; a tag `tag`, `change`, `evidence` and `was`; a category `category`,
    `was` and `reason`; a verdict `tag`, `change` and `by`.
    """

    kind: str
    stage: str
    at: datetime


class HistoryEntries(BaseModel):
    """What happened to a video, newest first; `next` is `after` of the next page."""

    items: list[HistoryEntry]
    next: str | None


def page_of(opened: OpenHome, selected: VideoQuery) -> SearchResults:
    """Return the page of a selection."""
    found = selected.find(opened.engine)
    facets = {name: dict(list(values.items())[:MOST_VALUES]) for name, values in found.facets.items()}
    return SearchResults(
        items=[VideoSummary.model_validate(hit) for hit in found.hits], facets=facets, total=found.total,
        next=found.next, matched=found.matched, did_you_mean=found.did_you_mean, notes=found.notes,
    )  # fmt: skip


def _json(document: Document) -> Response:
    """Return a document as `vidpipe show --json` writes it, with all of its fields."""
    return Response(to_json(document), media_type="application/json")


@router.get("/videos", response_model=VideoPage)
def list_videos(opened: Searchable, selected: Selected, caller: Reader) -> SearchResults:
    """Return the videos that a search and all filters find, with the facets of all of them."""
    return page_of(opened, selected)


@router.get("/videos/{sha256}", response_model=VideoDetails)
def get_video(opened: Opened, sha256: Sha256, caller: Reader) -> Response:
    """Return everything that is known of a video."""
    return _json(view(opened.library, sha256, opened.plan.specs))


@router.get("/videos/{sha256}/scenes", response_model=SceneList)
def get_scenes(opened: Opened, sha256: Sha256, caller: Reader) -> Response:
    """Return the scenes of a video, as `scenes` of the video has them."""
    return _json({"items": view(opened.library, sha256, opened.plan.specs)["scenes"]})


@router.get("/videos/{sha256}/explain")
def explain_video(opened: Opened, sha256: Sha256, caller: Reader, tag: Asked = None, category: Asked = None) -> Reasons:
    """Explain why a video has each tag and category, or not; or only about one of them."""
    stored_fields(opened.library, sha256)
    return reasons(opened.library, sha256, opened.plan.specs, tag, category)


@router.get("/videos/{sha256}/history")
def get_history(
    opened: Opened, sha256: Sha256, caller: Reader, limit: Limit = 50, after: After = None
) -> HistoryEntries:
    """Return what happened to a video: results of its stages, changes of its tags and category, and verdicts."""
    stored_fields(opened.library, sha256)
    items, following = history(opened.library, sha256, limit=limit, after=after)
    return HistoryEntries.model_validate({"items": items, "next": following})


@router.get("/videos/{sha256}/answers", response_model=AnswerList)
def get_answers(opened: Opened, sha256: Sha256, caller: Reader) -> Response:
    """Return every answer of the model about a video by scope and time; `in_force`: the description is made of it."""
    stored_fields(opened.library, sha256)
    return _json({"items": answers_of(opened.library, sha256)})
