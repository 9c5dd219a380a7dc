"""What a site, page or list says about a video. Kept with its source; rules read the fields in `STATED`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

from pydantic import BaseModel, Field


class Segment(BaseModel, frozen=True):
    """A labelled part of a video, as a list states it: ground truth, which never changes a result.

    Attributes:
        start_s: Start, in seconds.
        end_s: End, in seconds; None: the end of the video.
        labels: What is seen in it.
    """

    start_s: float = Field(0.0, ge=0)
    end_s: float | None = Field(None, gt=0)
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class StatedByUser:
    """What a list or the user states about a video.

    Attributes:
        title: Title of the video.
        labels: Labels of the video.
        priority: Higher ones are fetched and processed first.
        licence: Licence of the video.
        segments: Labelled parts of the video.
    """

    title: str | None = None
    labels: tuple[str, ...] = ()
    priority: int | None = None
    licence: str | None = None
    segments: tuple[Segment, ...] = ()

    @property
    def stated(self) -> dict[str, Any]:
        """These fields alone."""
        return {one.name: getattr(self, one.name) for one in fields(StatedByUser)}

    @property
    def fingerprint(self) -> tuple[object, ...]:
        """Equal for equal statements, also in what earlier versions stored."""
        return (self.title, self.labels, self.priority, *filter(None, (self.licence, self.segments)))


class SourceChapter(BaseModel, frozen=True):
    """A chapter, as the site states it; times in seconds."""

    start_s: float
    end_s: float | None = None
    title: str = ""


class SourceData(BaseModel, frozen=True, extra="ignore"):
    """What the site or page of a video says about it. Texts are hostile and were cut to a length that fits a document.

    Attributes:
        site: Name of the site, as its extractor is called.
        page_url: The page, without secrets.
        video_id: The site's own id.
        title: Title.
        uploader: Name of the channel or person.
        uploaded_on: Day of the upload.
        licence: Licence, as stated.
        description: The site's description.
        chapters: Chapters.
        subtitles: Language -> subtitles in WebVTT; automatic captions are named "en (automatic)".
        chosen: Which of a page's videos was taken; without secrets.
        reason: Why, and how many there were.
    """

    site: str = ""
    page_url: str = ""
    video_id: str = ""
    title: str = ""
    uploader: str = ""
    uploaded_on: date | None = None
    licence: str = ""
    description: str = ""
    chapters: tuple[SourceChapter, ...] = ()
    subtitles: dict[str, str] = {}
    chosen: str = ""
    reason: str = ""


#: What rules read of a source (`IngestFacts.source_data`) -> its greatest length there.
STATED: Mapping[str, int] = {"uploader": 200, "description": 2000, "licence": 300, "site": 100}


def stated_texts(data: Mapping[str, Any], licence: str | None) -> dict[str, tuple[str, ...]]:
    """Return what rules read of a source.

    Args:
        data: The fields of its `SourceData`.
        licence: The licence that its list or the user states.
    """
    said = {name: [data.get(name), licence if name == "licence" else ""] for name in STATED}
    cut = {name: tuple(text[: STATED[name]] for text in texts if text) for name, texts in said.items()}
    return {name: texts for name, texts in cut.items() if texts}
