"""How an index follows the library.

Numbers of changes become visible out of order, but no later than a lease after they were taken. So whenever an index
catches up, it looks again at all numbers that were taken less than two leases before it last did.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, cast

from bson import decode_all
from tantivy import Document, FieldType, Index, Query, Schema, Searcher

from vidpipe.library.changes import Changes
from vidpipe.library.leases import LEASE_S
from vidpipe.library.library import Library
from vidpipe.library.schema import MOST_KEPT
from vidpipe.library.videos import chunked, in_order_of_addition
from vidpipe.safe_files import replace_file
from vidpipe.search import documents
from vidpipe.search.fields import Fields
from vidpipe.stages.search_fields import spelled

#: Called with the number of videos that are indexed, and of all that will be.
Progress = Callable[[int, int], None]

_STATE_FILE = "state.json"
#: When a number has been known for so long, no lower one will become visible.
_SETTLED_S = 2 * LEASE_S
_MARK_EVERY_S = 10.0
#: Bytes; tantivy's minimum.
_SMALL_HEAP = 15_000_000
_LARGE_HEAP = 200_000_000
#: Changed videos that fill a large heap.
_MANY_VIDEOS = 2_000
_MANY_SEGMENTS = 16
#: Videos read at once; their documents take at most 16 MB, as MongoDB sends them.
_BATCH = 200
_NOT_SEARCHED = {"stages": 0, "lease": 0}


@dataclass(frozen=True)
class State:
    """What an index contains.

    Attributes:
        epoch: The counter of changes it follows.
        version: How its documents were made.
        marks: Times, oldest first, and the latest number that had been taken by then.
    """

    epoch: str
    version: str = ""
    marks: tuple[tuple[float, int], ...] = ((0.0, 0),)

    @property
    def settled(self) -> int:
        """The number up to which all changes are in the index."""
        return self.marks[0][1]

    def after(self, now: float, seq: int) -> State:
        """Return the state of an index that contains all that was visible at `now`, when `seq` had been taken.

        A clock that was set back makes the marks younger, which is safe.
        """
        marks = [(min(at, now), number) for at, number in self.marks]
        if now - marks[-1][0] >= _MARK_EVERY_S:
            marks.append((now, seq))
        settled = [place for place, (at, _) in enumerate(marks) if at <= now - _SETTLED_S]
        return replace(self, marks=tuple(marks[settled[-1] if settled else 0 :]))

    def save(self, folder: Path) -> None:
        """Write it beside the index's files."""
        replace_file(folder / _STATE_FILE, json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, folder: Path) -> State:
        """Read it.

        Raises:
            OSError, ValueError, LookupError, TypeError: It cannot be read.
        """
        stored = json.loads((folder / _STATE_FILE).read_bytes())
        (first, *more) = ((float(at), int(number)) for at, number in stored["marks"])
        return cls(str(stored["epoch"]), str(stored["version"]), (first, *more))


def version_of(fields: Fields) -> str:
    """Return how documents are made; an index of another version is built again."""
    return f"{documents.VERSION}-{fields.version}-{version('tantivy')}"


class Differences(NamedTuple):
    """Videos whose documents in an index are not those of the library.

    Attributes:
        changed: To be read and indexed.
        deleted: To be removed.
        after: The state of the index as soon as that is done.
    """

    changed: list[str]
    deleted: list[str]
    after: State

    @property
    def videos(self) -> int:
        """How many there are."""
        return len(self.changed) + len(self.deleted)


def differences(library: Library, searcher: Searcher, schema: Schema, state: State) -> Differences:
    """Return the videos that an index in `state` has in another version than the library."""
    seq, now = Changes(library.collections).state().seq, time.time()
    above = {"change_seq": {"$gt": state.settled}}
    videos, number = library.collections["videos"], {"change_seq": 1}
    indexed = _numbers(searcher, schema, state.settled)
    stored = ((row["_id"], row["change_seq"]) for row in videos.find(above, number))
    changed = [sha256 for sha256, seq in stored if (documents.id_head(sha256), seq) not in indexed]
    buried = (row["_id"] for row in library.collections["tombstones"].find(above, {"_id": 1}))
    deleted = {sha256 for sha256 in buried if _is_indexed(searcher, schema, sha256)}
    for chunk in chunked(list(deleted)):
        deleted.difference_update(row["_id"] for row in videos.find({"_id": {"$in": chunk}}, {"_id": 1}))
    return Differences(changed, list(deleted), state.after(now, seq))


def _numbers(searcher: Searcher, schema: Schema, above: int) -> set[tuple[int, int]]:
    """Return `id_head` and `change_seq` of the indexed videos that have a higher number."""
    query = Query.range_query(schema, "change_seq", FieldType.Unsigned, above, include_lower=False)
    found = searcher.search(query, limit=max(1, searcher.num_docs), order_by_field="change_seq").hits
    heads = searcher.fast_field_values("id_head", [address for _, address in found])
    return {(int(head or 0), int(seq)) for head, (seq, _) in zip(heads, found, strict=True)}


def _is_indexed(searcher: Searcher, schema: Schema, sha256: str) -> bool:
    return bool(searcher.search(Query.term_query(schema, "video", sha256, index_option="basic"), limit=1).hits)


def catch_up(
    library: Library, fields: Fields, index: Index, folder: Path, *, found: Differences, progress: Progress
) -> None:
    """Replace what differs. Only one process at a time may do so.

    Args:
        library: The library.
        fields: Its fields.
        index: The index, open; reload it afterwards.
        folder: Of its files.
        found: What differs.
        progress: Told how many videos are done.
    """
    if found.videos:
        heap = _LARGE_HEAP if found.videos > _MANY_VIDEOS else _SMALL_HEAP
        merge = index.searcher().num_segments >= _MANY_SEGMENTS
        _write(
            index, heap, [*found.changed, *found.deleted], _documents(library, fields, found.changed, progress), merge
        )
    found.after.save(folder)


def fill(library: Library, fields: Fields, index: Index, folder: Path, *, before: State, progress: Progress) -> None:
    """Index all videos.

    Args:
        library: The library.
        fields: Its fields.
        index: An empty index.
        folder: Of its files.
        before: The state of an older index, whose settled numbers are visible; or of an empty one.
        progress: Told how many videos are done.
    """
    seq, now = Changes(library.collections).state().seq, time.time()
    _write(index, _LARGE_HEAP, (), _documents(library, fields, None, progress), merge=True)
    replace(before, version=version_of(fields)).after(now, seq).save(folder)


def _write(index: Index, heap: int, removed: Iterable[str], added: Iterable[Document], merge: bool) -> None:
    """Commit a change: first the documents of some videos are removed, then others added.

    Args:
        index: The index.
        heap: Bytes of memory.
        removed: The videos.
        added: The documents.
        merge: Wait for segments to be merged; a writer that is not waited for gives that up.
    """
    writer = index.writer(heap, 1)
    try:
        for sha256 in removed:
            writer.delete_documents_by_term("video", sha256)
        for document in added:
            writer.add_document(document)
        writer.commit()
        if merge:
            writer.wait_merging_threads()
    finally:
        del writer  # it holds tantivy's lock while a traceback refers to it


def _documents(library: Library, fields: Fields, ids: Sequence[str] | None, progress: Progress) -> Iterator[Document]:
    """Yield the index documents of these videos, or of all."""
    total, done = library.videos.count() if ids is None else len(ids), 0
    for videos in _batches(library, ids):
        for video, scenes in _with_scenes(library, videos):
            yield from documents.documents(fields, video, scenes, _sources(library, video))
        done += len(videos)
        progress(done, max(done, total))


def _batches(library: Library, ids: Sequence[str] | None) -> Iterator[list[dict[str, Any]]]:
    videos = library.collections["videos"]
    queries: Iterable[dict[str, Any]] = (
        ({},) if ids is None else ({"_id": {"$in": chunk}} for chunk in chunked(ids, _BATCH))
    )
    for query in queries:
        for batch in videos.find_raw_batches(query, _NOT_SEARCHED, batch_size=_BATCH):
            yield decode_all(cast(bytes, batch), videos.codec_options)


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
