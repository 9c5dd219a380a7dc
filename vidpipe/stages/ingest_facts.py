"""What ingest knows of a video: its file, its sources, and what people said of it."""

import operator
from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar, Literal

from pydantic import Field, field_serializer

from vidpipe.stages.contract import Part, StageResult
from vidpipe.stages.results import Descriptions
from vidpipe.stages.search_fields import SearchField, spelled, stored


class StatedVerdict(Part):
    """What a person said of a tag or category of a video or scene.

    Attributes:
        kind: What it is about.
        name: The tag or category, as written.
        right: Whether it is right.
        by: Who said so.
        on: Day.
        note: Why.
        start_s: Start of the scene, in seconds; None: of the whole video.
    """

    kind: Literal["tag", "category"] = "tag"
    name: str
    right: bool
    by: str = ""
    on: date | None = None
    note: str = ""
    start_s: float | None = None

    @field_serializer("on")
    def _as_text(self, on: date | None) -> str | None:
        """Databases have no type for a day."""
        return on.isoformat() if on else None


def _addresses(facts: Mapping[str, Any]) -> list[str]:
    return [*(spelling for url in facts.get("urls") or () for spelling in spelled(url)), *(facts.get("names") or ())]


class IngestFacts(StageResult):
    """What ingest knows of a stored video; `raw_video` and the rules read it.

    Attributes:
        path: Path of the stored file, relative to the home (absolute if the file is referenced in place).
        size_bytes: Its size.
        modified_ns: Its modification time.
        referenced: The file stays where it was added from.
        names: File names of its sources, sorted.
        urls: URLs (or file: addresses) of its sources, sorted, without secrets.
        labels: Labels of its sources, sorted; labels that differ only in case are one.
        titles: Titles of its sources, sorted.
        source_data: What the sites of its sources say: "uploader", "description", "licence", "site" -> texts, sorted.
        verdicts: What people said of its tags and category.
        shared_description: What the describing model says of a copy of it; not stored if there is none.

    Only the first ones are kept (see `vidpipe.library.schema`).
    """

    unversioned: ClassVar[frozenset[str]] = frozenset({"path", "size_bytes", "modified_ns", "referenced"})
    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField("file", "text", stored("names"), "Words of a file name.", weight=6, compound=True, language="en"),
        SearchField("title", "text", stored("titles"), "Words of a title.", weight=8, compound=True),
        SearchField("label", "term", stored("labels"), "A label of a source.", weight=10, facet=True, compound=True),
        SearchField("source", "text", _addresses, "Part of a URL or file name.", weight=0, language="plain"),
    )

    path: str
    size_bytes: int
    modified_ns: int
    referenced: bool = False
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    source_data: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    verdicts: tuple[StatedVerdict, ...] = ()
    shared_description: Descriptions | None = Field(None, exclude_if=operator.not_)
