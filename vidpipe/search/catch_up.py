"""How an index follows the library.

Numbers of changes become visible out of order, mostly no later than a lease after they were taken. So whenever an
index catches up, it looks again at all numbers that were taken less than two leases before it last did. Once a day, it
compares all videos: a process may have been suspended for longer before it wrote, or a clock put forward.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, cast

from bson import decode_all
from tantivy import Document, FieldType, Index, Query, Schema, Searcher

from vidpipe.library.annotations import in_order_of_addition
from vidpipe.library.leases import LEASE_S
from vidpipe.library.library import Library
from vidpipe.library.schema import MOST_KEPT
from vidpipe.safe_files import replace_file
from vidpipe.search import documents
from vidpipe.search.fields import Fields
from vidpipe.stages.search_fields import spelled

#: Called with the number of videos that are indexed, and of all that will be.
Progress = Callable[[int, int], None]

_STATE_FILE = "state.json"
#: When a number has been known for so long, no lower one will become visible.
_SETTLED_S = 2 * LEASE_S
#: All videos are compared so often: that takes half a second for 100,000.
_FULL_CHECK_EVERY_S = 86_400.0
_MARK_EVERY_S = 10.0
#: Bytes; tantivy's minimum.
_SMALL_HEAP = 15_000_000
_LARGE_HEAP = 200_000_000
#: Changed videos that fill a large heap.
_MANY_VIDEOS = 2_000
_MANY_SEGMENTS = 16
#: Videos after which changes are committed, so that an interrupted process is continued from there.
_COMMIT_EVERY = 5_000
#: Videos asked for at once; MongoDB sends at most 16 MB of them at once.
_BATCH = 200
_NOT_SEARCHED = {"stages": 0, "lease": 0, "late_commit": 0}


@dataclass(frozen=True)
class State:
    """What an index contains.

    Attributes:
        epoch: The counter of changes it follows.
        version: How its documents were made.
        marks: Times, oldest first, and the latest number that had been taken by then.
        checked: When all videos were last compared; 0: never, the index has been incomplete since it was begun.
    """

    epoch: str
    version: str = ""
    marks: tuple[tuple[float, int], ...] = ((0.0, 0),)
    checked: float = 0.0

    @property
    def settled(self) -> int:
        """The number up to which all changes are in the index."""
        return self.marks[0][1]

    def needs_full_check(self, now: float) -> bool:
        """Return whether all videos have to be compared."""
        return not 0 <= now - self.checked < _FULL_CHECK_EVERY_S

    def after(self, now: float, seq: int) -> "State":
        """Return the state of an index that contains all that was visible at `now`, when `seq` had been taken.

        A clock that was set back makes the marks younger, which is safe.
        """
        marks = [(min(at, now), number) for at, number in self.marks]
        if now - marks[-1][0] >= _MARK_EVERY_S:
            marks.append((now, seq))
        settled = [place for place, (at, _) in enumerate(marks) if at <= now - _SETTLED_S]
        checked = now if self.needs_full_check(now) else self.checked
        return replace(self, marks=tuple(marks[settled[-1] if settled else 0 :]), checked=checked)

    def save(self, folder: Path) -> None:
        """Write it beside the index's files."""
        replace_file(folder / _STATE_FILE, json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, folder: Path) -> "State":
        """Read it.

        Raises:
            OSError, ValueError, LookupError, TypeError: It cannot be read.
        """
        stored = json.loads((folder / _STATE_FILE).read_bytes())
        (first, *more) = ((float(at), int(number)) for at, number in stored["marks"])
        return cls(str(stored["epoch"]), str(stored["version"]), (first, *more), float(stored["checked"]))


def version_of(fields: Fields) -> str:
    """Return how documents are made; an index of another version is built again."""
    return f"{documents.VERSION}-{fields.version}-{version('tantivy')}"


class Differences(NamedTuple):
    """What an index lacks.

    Attributes:
        videos: Those whose documents in the index are not what the library has; some were deleted.
        after: The state of the index as soon as they are.
    """

    videos: list[str]
    after: State


def differences(library: Library, searcher: Searcher, schema: Schema, state: State) -> Differences:
    """Compare an index in `state` with the library."""
    seq, now = library.changes.state().seq, time.time()
    above = 0 if state.needs_full_check(now) else state.settled
    later = {"change_seq": {"$gt": above}} if above else {}
    indexed = _numbers(searcher, schema, above)
    found, same = [], set[str]()
    for row in library.collections["videos"].find(later, {"change_seq": 1}).sort("change_seq"):
        number = indexed.pop(documents.id_head(row["_id"]), None)
        if number == (row.get("change_seq") or 0):
            same.add(row["_id"])
        else:
            found.append(row["_id"])
    # What is left of the indexed ones was deleted, or has got a lower number.
    for head in indexed:
        found += _video(searcher, Query.term_query(schema, "id_head", head))
    known = same.union(found)
    for row in library.collections["tombstones"].find(later, {"_id": 1}) if above else ():
        if row["_id"] not in known:
            found += _video(searcher, Query.term_query(schema, "video", row["_id"], index_option="basic"))
    return Differences(found, state.after(now, seq))


def _numbers(searcher: Searcher, schema: Schema, above: int) -> dict[int, int]:
    """Return `id_head` -> `change_seq` of the indexed videos that have a higher number; above 0: of all."""
    query = Query.range_query(schema, "change_seq", FieldType.Unsigned, above, include_lower=not above)
    found = searcher.search(query, limit=max(1, searcher.num_docs), order_by_field="change_seq").hits
    heads = searcher.fast_field_values("id_head", [address for _, address in found])
    return {int(head or 0): int(seq) for head, (seq, _) in zip(heads, found, strict=True)}


def _video(searcher: Searcher, query: Query) -> list[str]:
    """Return the video of the documents that `query` finds, if there are any."""
    return [str(searcher.doc(address).get_first("video")) for _, address in searcher.search(query, limit=1).hits]


def catch_up(
    library: Library, fields: Fields, index: Index, folder: Path, *, found: Differences, progress: Progress
) -> None:
    """Replace what differs. Only one process at a time may do so. What was done before an interruption stays done.

    Args:
        library: The library.
        fields: Its fields.
        index: The index, open; reload it afterwards.
        folder: Of its files.
        found: What differs.
        progress: Told how many videos are done.
    """
    if found.videos:
        many = len(found.videos) > _MANY_VIDEOS
        merge = many or index.searcher().num_segments >= _MANY_SEGMENTS
        writer = index.writer(_LARGE_HEAP if many else _SMALL_HEAP, 1)
        try:
            for done in range(0, len(found.videos), _BATCH):
                ids = found.videos[done : done + _BATCH]
                for sha256 in ids:
                    writer.delete_documents_by_term("video", sha256)
                for document in _documents(library, fields, ids):
                    writer.add_document(document)
                progress(done + len(ids), len(found.videos))
                if (done + _BATCH) % _COMMIT_EVERY == 0:
                    writer.commit()
            writer.commit()
            if merge:  # a writer that is not waited for gives up merging segments
                writer.wait_merging_threads()
        finally:
            del writer  # it holds tantivy's lock while a traceback refers to it
    found.after.save(folder)


def _documents(library: Library, fields: Fields, ids: Sequence[str]) -> Iterator[Document]:
    """Yield the index documents of these videos."""
    videos = library.collections["videos"]
    for batch in videos.find_raw_batches({"_id": {"$in": ids}}, _NOT_SEARCHED):
        for video, scenes in _with_scenes(library, decode_all(cast(bytes, batch), videos.codec_options)):
            yield from documents.documents(fields, video, scenes, _sources(library, video))


def _with_scenes(
    library: Library, videos: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any], list[dict[str, Any]]]]:
    """Yield each video with its scenes in force, in order; scenes of one video at a time are in memory."""
    pending = {video["_id"]: video for video in videos}
    query = {"video": {"$in": [video["_id"] for video in videos if video.get("scene_generation")]}}
    rows = library.collections["scenes"].find(query).sort([("video", 1), ("generation", 1), ("index", 1)])
    for sha256, scenes in groupby(rows, itemgetter("video")):
        video = pending.pop(sha256)
        yield video, [scene for scene in scenes if scene["generation"] == video["scene_generation"]]
    yield from ((video, []) for video in pending.values())


def _sources(library: Library, video: Mapping[str, Any]) -> Iterator[str]:
    """Yield all URLs and file names of a video whose document has no room for more."""
    if len(video["ingest"].get("urls") or ()) >= MOST_KEPT:
        fields = {"url": 1, "file_name": 1}
        for source in in_order_of_addition(library.collections["sources"], [video["_id"]], fields):
            yield from spelled(source["url"])
            yield source.get("file_name") or ""
