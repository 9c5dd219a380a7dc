"""Compares the tags and categories of the library with labels: those of a CSV file, or those stored from lists.

Every video in the labels counts as checked for all tags that occur anywhere in them, unless its row says in `checked`
which ones it was checked for: only where a video was checked for a tag and does not have it, giving it is wrong.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from vidpipe.errors import SettingsError, visible
from vidpipe.library.library import Library
from vidpipe.library.videos import NoSuchVideo, chunked
from vidpipe.tagging.measures import Compared, compare_labels
from vidpipe.text.words import tag_key

#: Of a video: its tags, its category, and the tags that it was checked for.
Labels = tuple[set[str], set[str], set[str]]

_COLUMNS = (("video", "sha256", "url", "file", "name"), ("tags", "labels", "tag", "label"), ("category",), ("checked",))
_HINT = "The first line names the columns: video, and tags or category, separated by commas."


def read_labels(text: str, library: Library) -> tuple[dict[str, Labels], list[str]]:
    """Return the labels in a CSV file, and what is wrong with its lines, which are left out.

    Raises:
        SettingsError: It has no column of videos, or neither tags nor categories.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        heads = [cell.strip().lower() for cell in next(reader, [])]
    except csv.Error as error:
        raise SettingsError(f"The first line of the file is not valid CSV: {error}.", _HINT) from None
    video, *places = [next((heads.index(one) for one in known if one in heads), -1) for known in _COLUMNS]
    if video < 0 or max(places[:2]) < 0:
        raise SettingsError("The file has no column of videos, or none of tags or categories.", _HINT)
    found, problems = dict[str, Labels](), list[str]()
    while True:
        number = reader.line_num + 1
        try:
            if (row := next(reader, None)) is None:
                return found, problems
            if row:
                if len(row) != len(heads):
                    raise csv.Error(f"{len(row)} cells instead of {len(heads)}")
                known = found.setdefault(library.videos.resolve(visible(row[video].strip())), (set(), set(), set()))
                for texts, place in zip(known, places, strict=True):
                    texts.update(re.findall(r"[^;|\s](?:[^;|\n]*[^;|\s])?", row[place] if place >= 0 else ""))
        except (csv.Error, NoSuchVideo) as error:
            problems.append(f"line {number}: {error}")


def labelled_videos(library: Library) -> dict[str, Labels]:
    """Return the labels that lists and users gave to videos or parts of them; lists state no categories."""
    query = {"video": {"$ne": None}, "$or": [{"labels.0": {"$exists": True}}, {"segments.0": {"$exists": True}}]}
    found: dict[str, Labels] = {}
    for row in library.collections["sources"].find(query, {"video": 1, "labels": 1, "segments.labels": 1}):
        parts = (one.get("labels", ()) for one in row.get("segments") or ())
        found.setdefault(row["video"], (set(), set(), set()))[0].update(row.get("labels") or (), *parts)
    return found


def evaluate_labels(library: Library, labels: Mapping[str, Labels], canonical: Callable[[str], str]) -> dict[str, Any]:
    """Return how well the stored tags and categories agree with labels; `canonical` gives the tag for a synonym."""

    def keys(tags: Iterable[str]) -> frozenset[str]:
        return frozenset(tag_key(canonical(tag)) for tag in tags)

    def compared() -> Iterator[Compared]:
        for batch in chunked(labels):
            query = {"_id": {"$in": batch}, "tags": {"$exists": True}}
            for row in library.collections["videos"].find(query, {"tags.tag": 1, "category.category": 1}):
                tags, category, checked = labels[row["_id"]]
                given, found = keys(one["tag"] for one in row["tags"]), row.get("category", {}).get("category", "")
                yield keys(tags), keys(checked) or None, given, " or ".join(sorted(category)), found

    written = (canonical(tag) for tags, _, checked in labels.values() for tag in (*tags, *checked))
    return compare_labels(compared(), {tag_key(tag): tag for tag in written})
