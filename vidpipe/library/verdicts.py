"""What people said of a video's tags: right or wrong. Saved as they are; they change no tag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pymongo.errors import DuplicateKeyError

from vidpipe.library.schema import Collections, Document
from vidpipe.library.videos import NoSuchVideo
from vidpipe.tagging.blocks import tag_key

Answer = Literal["yes", "no"]


class Verdicts:
    """The verdicts of a library: at most one per video and tag, in whatever spelling the tag is written."""

    def __init__(self, collections: Collections) -> None:
        self._verdicts = collections["verdicts"]
        self._videos = collections["videos"]

    def put(self, video: str, tag: str, verdict: Answer | None, by: str) -> Answer | None:
        """Store a verdict, or remove it; return the previous one.

        Stored with it: the rule that gave the tag, None if the video does not have it, and the spec of its tags.

        Args:
            video: The video.
            tag: The tag.
            verdict: None removes it.
            by: Who says so.

        Raises:
            NoSuchVideo: There is no such video.
        """
        key = tag_key(tag)
        place: Document = {"_id": f"{video} {key}", "video": video, "tag_key": key}
        if verdict is None:
            before = self._verdicts.find_one_and_delete(place)
            return before["verdict"] if before else None
        rule, spec = self._evidence(video, key)
        said = {"tag": tag, "verdict": verdict, "by": by, "at": datetime.now(UTC), "rule": rule, "spec": spec}
        while True:
            try:
                before = self._verdicts.find_one_and_update(place, {"$set": said}, upsert=True)
            except DuplicateKeyError:  # another request stored one at the same moment
                continue
            return before["verdict"] if before else None

    def _evidence(self, video: str, key: str) -> tuple[str | None, str]:
        found = self._videos.find_one({"_id": video}, {"tags": 1, "stages.tags.spec": 1})
        if found is None:
            raise NoSuchVideo(f"There is no video {video[:12]}.")
        rules = (one["rule"] for one in found.get("tags") or () if tag_key(one["tag"]) == key)
        return next(rules, None), found["stages"]["tags"].get("spec", "")

    def of_video(self, video: str) -> dict[str, Answer]:
        """Return tag key -> yes or no, of all verdicts on a video."""
        return {row["tag_key"]: row["verdict"] for row in self._verdicts.find({"video": video})}

    def on_tag(self, tag: str) -> dict[str, Answer]:
        """Return video -> yes or no, of all verdicts on a tag."""
        rows = self._verdicts.find({"tag_key": tag_key(tag)}, {"video": 1, "verdict": 1})
        return {row["video"]: row["verdict"] for row in rows}

    def counts(self) -> Mapping[str, Counter[str]]:
        """Return tag key -> number of verdicts by answer."""
        found: dict[str, Counter[str]] = {}
        group = {"_id": {"key": "$tag_key", "verdict": "$verdict"}, "n": {"$sum": 1}}
        for row in self._verdicts.aggregate([{"$group": group}]):
            found.setdefault(row["_id"]["key"], Counter())[row["_id"]["verdict"]] = row["n"]
        return found

    def find(self, tag: str | None, verdict: Answer | None, after: str, limit: int) -> Iterator[Document]:
        """Yield verdicts by video and tag.

        Args:
            tag: Only those on this tag.
            verdict: Only these.
            after: `_id` of the last one of the page before; "" for the first page.
            limit: Most verdicts.
        """
        query: dict[str, Any] = {"_id": {"$gt": after}}
        if tag is not None:
            query |= {"tag_key": tag_key(tag), "video": {"$gt": after.partition(" ")[0]}}
        if verdict is not None:
            query["verdict"] = verdict
        yield from self._verdicts.find(query).sort("_id" if tag is None else "video", 1).limit(limit)
