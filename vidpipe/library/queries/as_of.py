"""Tags and categories as of a time: what is stored now, with the changes that the lineage tells since then undone.

Where a change is missing (earlier versions recorded none of categories) or does not fit what is stored, the tags or the
category of the video are unknown. Nothing is guessed.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from vidpipe.library.library import Library
from vidpipe.library.schema import Document
from vidpipe.library.videos import name_of
from vidpipe.text.words import tag_key

#: Columns of flat files -> type, as in `vidpipe.library.queries.export`.
COLUMNS = dict.fromkeys(("video", "name"), "text") | dict.fromkeys(("added_at", "as_of"), "time") | {
    "tags": "texts", "category": "text", "unknown": "texts",
}  # fmt: skip
_CHANGES = {"stage": {"$in": ["tags", "categories"]}, "kind": {"$in": ["commit", "tag", "category"]}}
_STORED = {"added_at": 1, "ingest.names": 1, "tags": 1, "category.category": 1}


def rows(documents: Iterable[Document]) -> list[Document]:
    """Return states, as `AsOf.read` returns them, as rows of flat files."""
    return [{**one, **one["video"], "video": one["video"]["sha256"], "tags": [tag["tag"] for tag in one["tags"] or ()]}
            for one in documents]  # fmt: skip


@dataclass
class AsOf:
    """Reads the state of videos at a time.

    Attributes:
        library: The library.
        at: The time.
        unknown: Videos read so far whose tags or category are unknown.
    """

    library: Library
    at: datetime
    unknown: int = 0

    def read(self, ids: Sequence[str]) -> list[Document]:
        """Return those of the videos that were in the library then, in the order of their hashes."""
        changes, later = defaultdict(list), {"video": {"$in": list(ids)}, "at": {"$gt": self.at}, **_CHANGES}
        for row in self.library.collections["lineage"].find(later).sort("at", -1):
            changes[row["video"]].append(row)
        query = {"_id": {"$in": list(ids)}, "added_at": {"$lte": self.at}}
        videos = self.library.collections["videos"].find(query, _STORED).sort("_id", 1)
        return [self._state(video, changes[video["_id"]]) for video in videos]

    def _state(self, video: Document, rows: Sequence[Document]) -> Document:
        tags, category = _tags(video, rows), _category(video, rows)
        unknown = [name for name, state in (("tags", tags), ("category", category)) if state is None]
        self.unknown += bool(unknown)
        about = {"sha256": video["_id"], "name": name_of(video), "added_at": video["added_at"]}
        return {"video": about, "as_of": self.at, "tags": tags, "category": category or None, "unknown": unknown}


def _tags(video: Document, rows: Sequence[Document]) -> list[Document] | None:
    state = {tag_key(tag["tag"]): (tag["tag"], tag["rule"], tag["evidence"]) for tag in video.get("tags") or ()}
    for row in (row for row in rows if row["kind"] == "tag"):
        key, change = tag_key(row["tag"]), row["change"]
        if (key in state) is (change == "removed"):
            return None
        rule = row.get("was_rule") or (None if change == "rule changed" else row["rule"])
        state[key] = (row.get("was_tag") or row["tag"], rule, row["was"])
        if change == "added":
            del state[key]
    return [{"tag": tag, "rule": rule, "evidence": evidence} for _, (tag, rule, evidence) in sorted(state.items())]


def _category(video: Document, rows: Sequence[Document]) -> str | None:
    """Return the category, "" if there was none; None: unknown."""
    state = str((video.get("category") or {}).get("category", ""))
    told = {row["_id"].partition(":")[0]: row for row in rows if row["kind"] == "category"}
    for row in rows:
        if row["kind"] == "commit" and "category" in row["changed"]:
            change = told.get(row["_id"].partition(":")[0])
            if change is None or change["category"] != state:
                return None
            state = str(change["was"])
    return state
