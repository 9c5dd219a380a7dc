"""What lists say of a video: its labels and labelled parts, to evaluate results and cut clips. No stage reads it."""

from vidpipe.library.library import Library
from vidpipe.sources.records import SourceRecord
from vidpipe.sources.source_data import Segment

#: Of a video: its tags, its category, and the tags that it was checked for.
Labels = tuple[set[str], set[str], set[str]]


def segments_of(library: Library, sha256: str) -> list[tuple[Segment, str]]:
    """Return the labelled parts of a video, each with the id of its source, by start."""
    found = [(segment, source.id) for source in _sources(library, sha256) for segment in source.segments]
    return sorted(found, key=lambda one: (one[0].start_s, one[0].end_s or float("inf"), one[1]))


def labels_of(library: Library, sha256: str) -> list[tuple[str, str]]:
    """Return the labels that lists and users gave a video as a whole, each with the id of its source."""
    return [(label, source.id) for source in _sources(library, sha256) for label in source.labels]


def labelled_videos(library: Library) -> dict[str, Labels]:
    """Return the labels of each video that has any, those of its parts included; lists state no categories."""
    query = {"video": {"$ne": None}, "$or": [{"labels.0": {"$exists": True}}, {"segments.0": {"$exists": True}}]}
    found: dict[str, Labels] = {}
    for row in library.collections["sources"].find(query, {"video": 1, "labels": 1, "segments.labels": 1}):
        parts = (one.get("labels", ()) for one in row.get("segments") or ())
        found.setdefault(row["video"], (set(), set(), set()))[0].update(row.get("labels") or (), *parts)
    return found


def _sources(library: Library, sha256: str) -> list[SourceRecord]:
    """Return the sources that give the video now: parts of other bytes are at other times."""
    rows = library.collections["sources"].find({"video": sha256}).sort("_id", 1)
    return [SourceRecord.model_validate({"id": row["_id"], **row}) for row in rows]
