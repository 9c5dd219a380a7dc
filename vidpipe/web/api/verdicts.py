"""Verdicts: whether a tag or category of a video is right. They prevail over rules and models."""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints

from vidpipe.library.schema import Document
from vidpipe.library.verdicts import Answer, Kind, VerdictChange
from vidpipe.library.videos import name_of
from vidpipe.runner.label_now import label_now
from vidpipe.search.grammar import quoted
from vidpipe.settings import audit
from vidpipe.text.words import tag_key
from vidpipe.web.access import Reader, Writer
from vidpipe.web.home import Home, Opened, Searchable
from vidpipe.web.selection import Sha256

router = APIRouter(tags=["verdicts"])

_TIME = re.compile(r"\b(?:(\d{1,3}):)?(\d{1,2}):([0-5]\d)\b")

#: A tag to look for, whether there is such a tag or not.
_Wanted = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]


class WantedVerdict(VerdictChange):
    """A verdict to give; null withdraws the one there is."""

    video: Sha256


class VerdictSaved(WantedVerdict):
    """A verdict as it is now.

    Attributes:
        previous: The one before: giving that again undoes the change.
        applied: Whether tags and category follow already; if not, they do as soon as the video can be processed.
    """

    previous: Answer | None
    applied: bool


class SavedVerdict(BaseModel):
    """A verdict.

    Attributes:
        tag: The tag or category, as it was written.
        by: The person, or the name of the key that it was saved with.
        rule: The rule that had given the tag before; null: the video did not have it.
        spec: Version of the rules at that time.
        note: Why.
        start_s: Start of the scene that it is about, in seconds; null: the whole video.
    """

    video: str
    tag: str
    verdict: Answer
    by: str
    at: datetime
    rule: str | None
    spec: str
    kind: Kind
    note: str
    start_s: float | None


class VerdictPage(BaseModel):
    """A page of verdicts; `next` is `after` of the next page."""

    items: list[SavedVerdict]
    next: str | None


class ReviewedVideo(BaseModel):
    """A video with the tag.

    Attributes:
        rule: The rule that gave the tag.
        evidence: What was found.
        times_s: The times that the evidence names.
        poster: Address of its thumbnail.
        verdict: What was said of the tag; null: nothing yet.
    """

    video: str
    name: str
    duration_s: float | None
    rule: str
    evidence: str
    times_s: list[float]
    poster: str
    verdict: Answer | None


class ReviewedTag(BaseModel):
    """A tag: how many videos have it, and the verdicts on it."""

    tag: str
    videos: int
    yes: int
    no: int


class ReviewPage(BaseModel):
    """A contact sheet.

    Attributes:
        items: Videos that have the tag, or lost it by a verdict.
        videos: Their number.
        judged: Number of these with a verdict: `yes` and `no` together.
        next: `after` of the next page; null: this is the last.
    """

    tag: str
    items: list[ReviewedVideo]
    videos: int
    judged: int
    yes: int
    no: int
    next: str | None


class Review(BaseModel):
    """Parameters of a contact sheet."""

    tag: _Wanted | None = Field(None, description="The tag.")
    rule: _Wanted | None = Field(None, description="Only videos to which this rule gave the tag.")
    verdict: Literal["none", "yes", "no", "all"] = Field("none", description="Only videos with it; none: without one.")
    after: str = Field("", max_length=64, description="The `next` of the page before.")
    limit: int = Field(60, ge=1, le=200, description="Most items.")


class VerdictQuery(BaseModel):
    """Which verdicts are listed."""

    tag: _Wanted | None = Field(None, description="Only those on this tag.")
    verdict: Answer | None = Field(None, description="Only these.")
    after: str = Field("", max_length=2000, description="The `next` of the page before.")
    limit: int = Field(100, ge=1, le=500, description="Most items.")


@router.get("/verdicts")
def list_verdicts(opened: Opened, wanted: Annotated[VerdictQuery, Query()], caller: Reader) -> VerdictPage:
    """Return verdicts on tags and categories of videos and scenes."""
    limit = wanted.limit
    rows = list(opened.library.verdicts.find(wanted.tag or None, wanted.verdict, wanted.after, limit + 1))
    items = [SavedVerdict.model_validate(row) for row in rows[:limit]]
    return VerdictPage(items=items, next=rows[limit - 1]["_id"] if len(rows) > limit else None)


@router.put("/verdicts")
def give_verdict(change: WantedVerdict, home: Home, opened: Opened, caller: Writer) -> VerdictSaved:
    """Say whether a tag or category is right. The tags of the video follow at once, unless it is being processed."""
    said = change.model_dump()
    previous = opened.library.verdicts.put(**said, by=caller.name)
    applied = label_now(opened.library, opened.plan, [change.video])
    home.catch_up()
    del said["note"]
    audit("verdict", by=caller.name, **said, previous=previous)
    return VerdictSaved(**change.model_dump(), previous=previous, applied=applied)


@router.get("/review")
def list_videos_to_review(opened: Searchable, wanted: Annotated[Review, Query()], caller: Reader) -> ReviewPage:
    """Return videos that have a tag, or lost it by a verdict, with evidence and verdict, sorted; none without a tag."""
    if not wanted.tag:
        return ReviewPage(tag="", items=[], videos=0, judged=0, yes=0, no=0, next=None)
    on_tag = opened.library.verdicts.on_tag(wanted.tag)
    removed = {video for video, one in on_tag.items() if one["verdict"] == "no"}
    ids = sorted(removed.union(opened.engine.ids("", [f"tag:{quoted(wanted.tag)}"], stale=True)))
    if wanted.rule:
        query = {"tags": {"$elemMatch": {"rule": wanted.rule, "tag": wanted.tag}}}
        given = {row["_id"] for row in opened.library.collections["videos"].find(query, {"_id": 1})}
        given |= {video for video, one in on_tag.items() if one.get("rule") == wanted.rule}
        ids = [video for video in ids if video in given]
    said = {video: on_tag[video]["verdict"] if video in on_tag else "none" for video in ids}
    shown = [video for video in ids if video > wanted.after and wanted.verdict in ("all", said[video])]
    page = shown[: wanted.limit]
    fields = {"ingest.names": 1, "metadata.duration_s": 1, "tags": 1}
    found = opened.library.collections["videos"].find({"_id": {"$in": page}}, fields).sort("_id", 1)
    items = [_item(row, wanted.tag, on_tag.get(row["_id"], {})) for row in found]
    counts = Counter(said.values())
    following = page[-1] if len(shown) > len(page) else None
    return ReviewPage(
        tag=wanted.tag, items=items, videos=len(ids), judged=len(ids) - counts["none"], yes=counts["yes"],
        no=counts["no"], next=following,
    )  # fmt: skip


@router.get("/review/tags")
def list_tags_to_review(opened: Searchable, caller: Reader) -> list[ReviewedTag]:
    """Return the tags of the library, the most frequent first, with the number of verdicts."""
    counts = opened.library.verdicts.counts()
    found = opened.engine.find(limit=1).facets["tag"]
    said: dict[str, Mapping[str, int]] = {tag: counts.get(tag_key(tag), {}) for tag in found}
    return [
        ReviewedTag(tag=tag, videos=videos, yes=said[tag].get("yes", 0), no=said[tag].get("no", 0))
        for tag, videos in found.items()
    ]


def _item(row: Document, tag: str, verdict: Document) -> ReviewedVideo:
    found: Document = next((one for one in row.get("tags") or () if tag_key(one["tag"]) == tag_key(tag)), verdict)
    evidence = found.get("evidence", "")
    return ReviewedVideo(
        video=row["_id"], name=name_of(row), duration_s=(row.get("metadata") or {}).get("duration_s"),
        rule=found.get("rule") or "", evidence=evidence, times_s=_times(evidence),
        poster=f"/api/v1/videos/{row['_id']}/thumbnail", verdict=verdict.get("verdict"),
    )  # fmt: skip


def _times(evidence: str) -> list[float]:
    """Return the times in a sentence such as: someone says "rocket" at 0:12 and 0:40."""
    return [int(h or 0) * 3600.0 + int(m) * 60 + int(s) for h, m, s in _TIME.findall(evidence)]
