"""Decisions of people: pairs of videos that are no duplicates, whatever their fingerprints say.

They are no result of a stage: runs leave them as they are. A decision ends when it is withdrawn, or one of its videos
forgotten.
"""

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from vidpipe.errors import SettingsError
from vidpipe.library.library import Library
from vidpipe.library.verdicts import Name, Note
from vidpipe.library.videos import NoSuchVideo
from vidpipe.settings import audit


class DistinctPair(BaseModel):
    """Two videos that are no duplicates.

    Attributes:
        video: The video with the smaller hash.
        other: The other one.
        by: Who says so.
        at: When.
        note: Why.
    """

    video: str
    other: str
    by: Name
    at: datetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    note: Note = ""


def distinct_pairs(library: Library) -> list[DistinctPair]:
    """Return all pairs that are no duplicates, sorted."""
    rows = library.collections["distinct"].find().sort("_id", 1)
    return [DistinctPair(**{**row, "video": row["video"][0], "other": row["video"][1]}) for row in rows]


def mark_distinct(library: Library, pair: DistinctPair) -> DistinctPair:
    """Remember that two videos are no duplicates; repeating it replaces who says so and why.

    Raises:
        SettingsError: They are the same video.
        NoSuchVideo: There is no such video.
    """
    ids = sorted({pair.video, pair.other})
    if len(ids) < 2:
        raise SettingsError("A video is always a duplicate of itself.", "Name two videos.")
    said, collection = pair.model_dump(include={"by", "at", "note"}), library.collections["distinct"]
    # `video` lists both: whatever removes the documents of a video finds them.
    collection.replace_one({"_id": " ".join(ids)}, {"video": ids, **said}, upsert=True)
    found = library.collections["videos"].distinct("_id", {"_id": {"$in": ids}})
    if missing := sorted({*ids} - {*found}):  # or forgotten meanwhile
        collection.delete_one({"_id": " ".join(ids)})
        raise NoSuchVideo(f"No video has the hash {missing[0][:12]}.", "`vidpipe list` shows all.")
    audit("distinct", videos=ids, by=pair.by, withdrawn=False)
    return pair.model_copy(update={"video": ids[0], "other": ids[1]})


def withdraw_distinct(library: Library, video: str, other: str, by: str) -> bool:
    """Withdraw the decision on two videos; return whether there was one."""
    ids = sorted((video, other))
    audit("distinct", videos=ids, by=by, withdrawn=True)
    return library.collections["distinct"].delete_one({"_id": " ".join(ids)}).deleted_count > 0
