"""What people said of the tags and category of a video or scene: right or wrong, by whom and why.

The collection `verdicts` is the source. Stages read the copy in the facts of the video (`ingest.verdicts`), which is
written afterwards and can be written again at any time.
"""

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from vidpipe.errors import UNSAFE, VidpipeError
from vidpipe.library import server_clock
from vidpipe.library.annotations import Annotations
from vidpipe.library.schema import Collections, Document
from vidpipe.library.videos import NoSuchVideo, Videos, chunked
from vidpipe.sources.lists import parse_time
from vidpipe.stages.ingest_facts import StatedVerdict
from vidpipe.text.messages import clock_time
from vidpipe.text.words import tag_key

Answer = Literal["yes", "no"]
Kind = Literal["tag", "category"]

#: The rule in the tag of a person; the verdict itself says which rule gave the tag before.
_BY_PERSON = "verdict"
_OF_TAGS: Document = {"kind": "tag", "start_s": None}


def _plain(text: str) -> str:
    if UNSAFE.search(text):
        raise ValueError("has control characters, or bytes that are not UTF-8")
    return text


Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000), AfterValidator(_plain)]
_Time = Annotated[
    float, BeforeValidator(lambda time: parse_time(time) if isinstance(time, str) else time),
    Field(ge=0, allow_inf_nan=False),
]  # fmt: skip
Name = Annotated[Note, Field(min_length=1, max_length=200)]


class VerdictChange(BaseModel):
    """A verdict to give; null withdraws the one there is.

    Attributes:
        video: The video.
        tag: The tag or category.
        verdict: Whether it is right.
        note: Why.
        start_s: A time in the scene that it is about, in seconds or as in "1:23"; null: the whole video.
        kind: What it is about.
    """

    model_config = ConfigDict(extra="forbid")

    video: Name
    tag: Name
    verdict: Answer | None
    note: Note = ""
    start_s: _Time | None = None
    kind: Kind = "tag"


class Verdicts:
    """The verdicts of a library: at most one per tag or category of a video or scene, in whatever spelling."""

    def __init__(self, collections: Collections, videos: Videos) -> None:
        self._verdicts, self._lineage = collections["verdicts"], collections["lineage"]
        self._documents, self._videos = collections["videos"], videos

    def put(
        self, video: str, tag: str, verdict: Answer | None, by: str, *, kind: Kind = "tag", note: str = "",
        start_s: float | None = None,
    ) -> Answer | None:  # fmt: skip
        """Give a verdict, change or withdraw it; return the previous one. What reads it becomes stale.

        Stored with a new one: the rule that gave the tag, its evidence, and the spec of the stage that gives it.

        Args:
            video: The video.
            tag: The tag or category.
            verdict: None withdraws it.
            by: Who says so.
            kind: What it is about.
            note: Why.
            start_s: A time in the scene that it is about, in seconds; None: it is about the whole video.

        Raises:
            NoSuchVideo: There is no such video.
            VidpipeError: There is no scene at this time, or scenes have no category.
        """
        key, at = tag_key(tag), server_clock.now()
        if start_s is not None:
            start_s = self._scene(video, start_s, key, kind, withdrawn=verdict is None)
        about = {"video": video, "tag_key": key, "kind": kind, "start_s": start_s}
        place = {"_id": f"{video} {key}" if about | _OF_TAGS == about else f"{video} {key}\n{kind}\n{start_s}"}
        said = {"tag": tag, "verdict": verdict, "by": by, "at": at, "note": note}
        new = about | self._given(video, key, kind, start_s)
        before: Document | None = (
            self._verdicts.find_one_and_update(place, {"$set": said, "$setOnInsert": new}, upsert=True)
            if verdict else self._verdicts.find_one_and_delete(place)
        )  # fmt: skip
        if verdict or before:
            entry = verdict_entry(about | said, f"verdict:{uuid.uuid4().hex}", before["verdict"] if before else None)
            self._lineage.insert_one(entry)
        self.copy([video])
        if self._documents.find_one({"_id": video}, {"_id": 1}) is None:  # it was forgotten meanwhile
            self._verdicts.delete_many({"video": video})
            self._lineage.delete_many({"video": video})
        return before["verdict"] if before else None

    def _scene(self, video: str, time_s: float, key: str, kind: Kind, *, withdrawn: bool) -> float:
        """Return the start of the scene at a time; that of a verdict in it, if its scenes were others then."""
        if kind == "category":
            raise VidpipeError("A scene has no category.", "Give the verdict on the category of the whole video.")
        for scene in self._videos.scenes([video]).get(video, ()):
            if scene["start_s"] <= time_s < scene["end_s"]:
                place = {"$gte": scene["start_s"], "$lt": scene["end_s"]}
                said = self._verdicts.find_one({"video": video, "tag_key": key, "start_s": place}, sort=[("at", -1)])
                return float((said or scene)["start_s"])
        if withdrawn:  # the scene may have gone
            return time_s
        raise VidpipeError(f"Video {video[:12]} has no scene at {clock_time(time_s)}.", "`vidpipe show` lists scenes.")

    def _given(self, video: str, key: str, kind: Kind, start_s: float | None) -> Document:
        stage = _stage(kind)
        found = self._documents.find_one({"_id": video}, {"tags": 1, "scene_tags": 1, f"stages.{stage}.spec": 1})
        if found is None:
            raise NoSuchVideo(f"There is no video {video[:12]}.")
        given = () if kind == "category" else found.get("tags" if start_s is None else "scene_tags") or ()
        tag: Document = next((one for one in given if tag_key(one["tag"]) == key and one["rule"] != _BY_PERSON), {})
        spec = found["stages"].get(stage, {}).get("spec", "")
        return {"rule": tag.get("rule"), "evidence": tag.get("evidence", ""), "spec": spec}

    def copy(self, videos: Sequence[str]) -> None:
        """Bring the copies in the facts of videos up to date."""
        for chunk in chunked(videos):
            self._videos.annotate(chunk, partial(self._stated, chunk))

    def _stated(self, videos: Sequence[str]) -> dict[str, Annotations]:
        found: dict[str, list[StatedVerdict]] = {video: [] for video in videos}
        for row in self._verdicts.find({"video": {"$in": list(videos)}}).sort([("at", 1), ("_id", 1)]):
            found[row["video"]].append(stated(row))
        return {video: Annotations({"verdicts": tuple(said)}) for video, said in found.items()}

    def repair(self) -> None:
        """Bring all copies up to date: a process may have been killed, or a backup made, before one was written."""
        given = {row["_id"] for row in self._verdicts.aggregate([{"$group": {"_id": "$video"}}])}
        copied = self._documents.find({"ingest.verdicts.0": {"$exists": True}}, {"_id": 1})
        self.copy(sorted(given.union(row["_id"] for row in copied)))

    def of_video(self, video: str) -> dict[str, Answer]:
        """Return tag key -> yes or no, of all verdicts on tags of a video as a whole."""
        return {row["tag_key"]: row["verdict"] for row in self._verdicts.find({"video": video, **_OF_TAGS})}

    def on_tag(self, tag: str) -> dict[str, Document]:
        """Return video -> verdict, of all verdicts on a tag of whole videos."""
        return {row["video"]: row for row in self._verdicts.find({"tag_key": tag_key(tag), **_OF_TAGS})}

    def counts(self) -> Mapping[str, Counter[str]]:
        """Return tag key -> number of verdicts on whole videos by answer."""
        found: dict[str, Counter[str]] = {}
        group = {"_id": {"key": "$tag_key", "verdict": "$verdict"}, "n": {"$sum": 1}}
        for row in self._verdicts.aggregate([{"$match": _OF_TAGS}, {"$group": group}]):
            found.setdefault(row["_id"]["key"], Counter())[row["_id"]["verdict"]] = row["n"]
        return found

    def find(
        self, tag: str | None = None, verdict: Answer | None = None, after: str = "", limit: int = 0,
        video: str | None = None,
    ) -> Iterator[Document]:  # fmt: skip
        """Yield verdicts by video and tag.

        Args:
            tag: Only those on this tag or category.
            verdict: Only these.
            after: `_id` of the last one of the page before; "" for the first page.
            limit: Most verdicts; 0: all.
            video: Only those on this video.
        """
        wanted = {"tag_key": None if tag is None else tag_key(tag), "verdict": verdict, "video": video}
        query: Document = {
            "_id": {"$gt": after},
            **{name: value for name, value in wanted.items() if value is not None},
        }
        yield from self._verdicts.find(query).sort("_id", 1).limit(limit)


def stated(row: Mapping[str, Any]) -> StatedVerdict:
    """Return what the facts of the video say of a verdict."""
    more = {name: row[name] for name in ("kind", "note", "start_s") if name in row}
    return StatedVerdict(name=row["tag"], right=row["verdict"] == "yes", by=row["by"], on=row["at"].date(), **more)


def verdict_entry(said: Mapping[str, Any], entry: str, was: Answer | None = None) -> Document:
    """Return what the lineage says of a verdict that was given, changed or withdrawn, with `entry` as its `_id`."""
    kept = {name: said[name] for name in ("video", "tag_key", "start_s", "tag", "by", "at")}
    about = {"kind": "verdict", "about": said["kind"], "stage": _stage(said["kind"]), "run": ""}
    change = {"change": f"verdict {said['verdict'] or 'withdrawn'}", "evidence": said["note"], "was": was}
    return {"_id": entry, **kept, **about, **change}


def _stage(kind: Kind) -> str:
    return "tags" if kind == "tag" else "categories"
