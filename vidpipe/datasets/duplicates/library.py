"""Duplicates in the library: groups of copies with the one to keep, parts of longer videos, and groups for splits."""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime

from pydantic import BaseModel

from vidpipe.datasets.duplicates.alignment import Match
from vidpipe.datasets.duplicates.decisions import distinct_pairs
from vidpipe.datasets.duplicates.groups import groups_of
from vidpipe.datasets.duplicates.index import DuplicateIndex, Progress
from vidpipe.datasets.duplicates.prints import stored_print
from vidpipe.datasets.groups import DUPLICATES, Link, linked_groups
from vidpipe.library.library import Library
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked, name_of
from vidpipe.text.messages import clock_time, join_words

STAGE = "fingerprint"
_DONE = {f"stages.{STAGE}.status": "ok"}
_WAITS_FOR = ("raw_video", "metadata", "scenes", STAGE)


def _first(*paths: str) -> Document:
    return {"$ifNull": [*(f"${path}" for path in paths), 0]}


#: Expressions for the fields of `ComparedVideo`.
_FACTS: Document = {
    "video": "$_id", "name": {"$ifNull": [{"$arrayElemAt": ["$ingest.names", 0]}, "$_id"]}, "added_at": 1,
    "width": _first("scenes.active_area.width", "metadata.width"), "size_bytes": _first("ingest.size_bytes"),
    "height": _first("scenes.active_area.height", "metadata.height"), "bit_rate": _first("metadata.bit_rate"),
    "duration_s": _first("scenes.duration_s", "metadata.duration_s"), "damage": "$scenes.damage.sentence",
}  # fmt: skip


class ComparedVideo(BaseModel):
    """What tells copies apart.

    Attributes:
        video: Its sha256.
        width: Of the picture without black bars, in pixels; 0: unknown, as for the others.
        height: Likewise.
        bit_rate: Bits per second of the whole file.
        damage: What is damaged; None: nothing that was noticed.
    """

    video: str
    name: str
    added_at: datetime
    width: int
    height: int
    duration_s: float
    bit_rate: int
    size_bytes: int
    damage: str | None = None


class DuplicateGroup(BaseModel):
    """Copies of one video.

    Attributes:
        keep: The copy to keep.
        why: Why that one.
        copies: The others, each with where it shows the same as the one to keep, or as another copy.
    """

    keep: str
    why: str
    copies: list[Match]


class Duplicates(BaseModel):
    """Groups of copies, and videos that are parts of longer ones.

    Attributes:
        videos: sha256 -> what is known of each video in a group or part.
        parts: Where a video is a part of another one.
        compared: Number of videos with a fingerprint.
        not_compared: Number of videos without one.
        next: Where the next page begins; None: there are no more.
    """

    videos: dict[str, ComparedVideo]
    groups: list[DuplicateGroup]
    parts: list[Match]
    compared: int
    not_compared: int
    next: str | None


def find_matches(
    library: Library, videos: Collection[str] = (), progress: Progress = lambda done, total: None
) -> list[Match]:
    """Compare the stored fingerprints of all videos; takes minutes for 100,000. With `videos`: only theirs with all.

    Then what is found is compared, too, so that groups are whole.
    """
    rows = library.collections["videos"].find(_DONE, {STAGE: 1}).sort("_id", 1).batch_size(200)
    index = DuplicateIndex(one for row in rows if (one := stored_print(row)))
    if videos:
        found = {video for match in index.all_matches(videos) for video in (match.video, match.other)}
        videos = sorted(found.union(videos))
    return list(index.all_matches(videos, progress))


class KeptMatches:
    """The matches of a server's library. A thread finds them again after fingerprints have changed."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._worker: threading.Thread | None = None
        self._found: tuple[object, list[Match] | None] = (None, None)
        self._fault: Exception | None = None

    def get(self, library: Library, wait_s: float = 10.0) -> list[Match] | None:
        """Return the matches; the former ones while new ones take long; None: the first ones take longer than this."""
        # The first is answered from the stage's index.
        count: list[Document] = [{"$match": _DONE}, {"$sortByCount": f"$stages.{STAGE}.spec"}, {"$sort": {"_id": 1}}]
        removed = library.collections["tombstones"].find_one({}, {"_id": 1}, sort=[("change_seq", -1)])
        state = [*library.collections["videos"].aggregate(count), removed]
        with self._mutex:
            if state != self._found[0] and not (self._worker and self._worker.is_alive()):
                self._worker = threading.Thread(target=self._find, args=(library, state), daemon=True)
                self._worker.start()
        if self._worker:
            self._worker.join(wait_s if self._found[1] is None else 1.0)
        if fault := self._fault:
            self._fault = None
            raise fault
        return self._found[1]

    def _find(self, library: Library, state: object) -> None:
        try:
            self._found = (state, find_matches(library))
        except Exception as error:  # raised again in a request, and the next one tries again
            self._fault = error


def duplicates_of(
    library: Library, matches: Sequence[Match], *, min_score: float = 0.0, videos: Collection[str] = (),
    after: str | None = None, limit: int = 0,
) -> Duplicates:  # fmt: skip
    """Return groups and parts; all that belongs together is on one page.

    Args:
        library: The library.
        matches: What `find_matches` returned; videos that were forgotten since are left out.
        min_score: Only matches of at least this score.
        videos: Only what belongs to one of these; empty: all.
        after: `next` of the page before.
        limit: Most families of videos that belong together; 0: all.
    """
    apart = _apart(library)
    found = [one for one in matches if one.score >= min_score and {one.video, one.other} not in apart]
    family = _families(found)
    wanted = sorted({family[video] for video in videos or family if video in family and family[video] > (after or "")})
    shown = set(page := wanted[: limit or None])
    known = compared_videos(library, [video for video in family if family[video] in shown])
    found = [one for one in found if {one.video, one.other} <= known.keys()]
    copies = {(one.video, one.other): one for each in found if each.kind == "copy" for one in (each, _turned(each))}
    parts = (_turned(one) if known[one.video].duration_s > known[one.other].duration_s else one
             for one in found if one.kind == "part")  # fmt: skip
    done = library.collections["videos"].count_documents(_DONE)
    return Duplicates(
        videos=known, groups=[_group([known[id] for id in ids], copies) for ids in groups_of(found, apart)],
        parts=sorted(parts, key=lambda one: (one.other, one.other_start_s, one.video)), compared=done,
        not_compared=library.videos.count() - done, next=page[-1] if len(page) < len(wanted) else None,
    )  # fmt: skip


def duplicate_links(library: Library, videos: Sequence[str]) -> tuple[list[Link], int]:
    """Return links between videos that have duplicates, and how many of the videos have a fingerprint.

    Videos that show parts of each other are linked: a trailer in one split reveals the film in another.
    """
    compared = sum(library.collections["videos"].count_documents({"_id": {"$in": some}, **_DONE})
                   for some in chunked(videos))  # fmt: skip
    apart = _apart(library)
    matches = find_matches(library) if compared else []
    family = _families([one for one in matches if {one.video, one.other} not in apart])
    return [(video, DUPLICATES, family[video]) for video in videos if video in family], compared


def not_compared(library: Library) -> Iterator[tuple[str, str, str]]:
    """Yield sha256, name and reason of each video without a fingerprint."""
    query = {f"stages.{STAGE}.status": {"$ne": "ok"}}
    for row in library.collections["videos"].find(query, {"stages": 1, "ingest.names": 1}).sort("_id", 1):
        entries = ((stage, row["stages"].get(stage, {})) for stage in _WAITS_FOR)
        stage, entry = next((stage, entry) for stage, entry in entries if entry.get("status") != "ok")
        yield row["_id"], name_of(row), (entry.get("error") or {}).get("message") or f"The stage {stage} has not run."


def compared_videos(library: Library, ids: Collection[str]) -> dict[str, ComparedVideo]:
    """Return sha256 -> what tells the video from its copies; those that were forgotten are left out."""
    steps = ([{"$match": {"_id": {"$in": some}}}, {"$project": _FACTS}] for some in chunked(sorted(ids)))
    rows = (row for step in steps for row in library.collections["videos"].aggregate(step))
    return {row["_id"]: ComparedVideo.model_validate(row) for row in rows}


def _apart(library: Library) -> set[frozenset[str]]:
    return {frozenset((pair.video, pair.other)) for pair in distinct_pairs(library)}


def _families(matches: Sequence[Match]) -> dict[str, str]:
    """Return video -> the smallest sha256 of all that copies and parts connect with it."""
    links = [(video, "match", str(n)) for n, one in enumerate(matches) for video in (one.video, one.other)]
    return linked_groups([video for video, _, _ in links], links)


#: What makes a copy better than others, the most important first: the figure, how much less is as good, in words.
_BETTER: tuple[tuple[Callable[[ComparedVideo], float], float, Callable[[ComparedVideo], str]], ...] = (
    (lambda one: one.width * one.height, 0.02, lambda one: f"has the highest resolution ({one.width}x{one.height})"),
    (lambda one: one.duration_s, 0.01, lambda one: f"is the longest ({clock_time(one.duration_s, 1)})"),
    (lambda one: one.damage is None, 0.0, lambda one: "is not damaged"),
    (lambda one: one.bit_rate, 0.05, lambda one: f"has the highest bit rate ({one.bit_rate / 1e6:.3g} Mbit/s)"),
)


def best_copy(videos: Collection[ComparedVideo]) -> tuple[ComparedVideo, str]:
    """Return the copy to keep and why: resolution, length, damage and bit rate decide, then which was added first."""
    left, reasons = sorted(videos, key=lambda one: (one.added_at, one.video)), list[str]()
    for figure, slack, words in _BETTER:
        best = max(map(figure, left))
        better = [one for one in left if figure(one) >= best * (1 - slack)]
        reasons += [words(better[0])] if len(better) < len(left) else []
        left = better
    return left[0], f"It {join_words([*reasons, *(['was added first'] if len(left) > 1 else [])])}."


def _group(videos: Sequence[ComparedVideo], copies: Mapping[tuple[str, str], Match]) -> DuplicateGroup:
    keep, why = best_copy(videos)
    compared = []
    for one in (one.video for one in videos if one is not keep):
        near = copies.get((one, keep.video)) or max(
            (copies[one, each.video] for each in videos if (one, each.video) in copies), key=lambda match: match.score
        )
        compared.append(near)
    return DuplicateGroup(keep=keep.video, why=why, copies=compared)


def _turned(one: Match) -> Match:
    return Match(one.other, one.video, one.kind, one.other_start_s, one.other_end_s, one.start_s, one.end_s, one.score,
                 one.mirrored)  # fmt: skip
