"""The videos' documents: how they are added, annotated and found, and how stored results become typed again."""

from __future__ import annotations

import logging
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from vidpipe.errors import VidpipeError, readable
from vidpipe.library import server_clock
from vidpipe.library.annotations import Annotations, distinct, first_distinct
from vidpipe.library.media_places import PLACE
from vidpipe.library.schema import LAST_URL, MOST_LABELS, MOST_STATED, Collections, Document, new_entry
from vidpipe.safe_files import path_text
from vidpipe.sources.urls import stored_spellings
from vidpipe.stages.contract import INGEST, FieldRead, StageResult
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe.storage.object_store import LOCAL

if TYPE_CHECKING:
    from pymongo import UpdateOne

    from vidpipe.library.changes import Changes

log = logging.getLogger(__name__)

Entry = TypeVar("Entry")

#: Longest file name that is searched for; MongoDB rejects much longer patterns.
_LONGEST_NAME = 255
_HASH_PREFIX = re.compile(r"^[0-9a-f]{4,64}$")
_SHORT_PREFIX = re.compile(r"[0-9a-f]{1,3}$")


class NoSuchVideo(VidpipeError):
    """No video, or more than one, matches a name."""

    exit_code = 4


class Videos:
    """The documents of the library's videos."""

    def __init__(self, collections: Collections, graph: StageGraph, changes: Changes) -> None:
        self._changes = changes
        self._videos = collections["videos"]
        self._sources = collections["sources"]
        self._scenes = collections["scenes"]
        self._graph = graph

    def add(self, sha256: str, facts: IngestFacts, store: str = LOCAL) -> bool:
        """Record a file in a store; return whether the video is new.

        A known video gains names, URLs, labels and titles, as long as its document has room for them. What reads a fact
        that changed becomes stale in the same update.
        """
        from pymongo.errors import DuplicateKeyError

        while True:
            known = self._videos.find_one({"_id": sha256}, {INGEST: 1})
            if known is None:
                try:
                    self._videos.insert_one(self._new_document(sha256, facts, store))
                except DuplicateKeyError:
                    continue
                return True
            before = IngestFacts.model_validate(known[INGEST])
            update: dict[str, Any] = {
                "names": first_distinct((*before.names, *facts.names)),
                "urls": first_distinct((*before.urls, *facts.urls)),
                "labels": distinct((*before.labels, *facts.labels), MOST_LABELS),
                "titles": distinct((*before.titles, *facts.titles)),
                "source_data": {
                    name: distinct((*before.source_data.get(name, ()), *facts.source_data.get(name, ())), MOST_STATED)
                    for name in {**before.source_data, **facts.source_data}
                },
                "verdicts": before.verdicts,
                "shared_description": before.shared_description,
            }
            # A copy in the store is better than a file that others may move; else the new facts win.
            if facts.referenced and not before.referenced:
                place = ("path", "size_bytes", "modified_ns", "referenced")
                update |= {name: getattr(before, name) for name in place}
            merged = facts.model_copy(update=update)
            if merged == before or self._replace([(known, merged)]):
                return False

    def annotate(self, ids: Sequence[str], read: Callable[[], Mapping[str, Annotations]]) -> Mapping[str, Annotations]:
        """Give the videos the facts that `read` finds; return what it found.

        What reads them becomes stale where they changed.

        Args:
            ids: The videos.
            read: Called after the videos were read, and again if one of them changed meanwhile.
        """
        while True:
            known = list(self._videos.find({"_id": {"$in": list(ids)}}, {INGEST: 1}))
            annotations = read()
            changed = []
            for row in known:
                before = IngestFacts.model_validate(row[INGEST])
                after = before.model_copy(update=annotations[row["_id"]].facts)
                if after != before:
                    changed.append((row, after))
            if not changed or self._replace(changed):
                return annotations

    def source_added(self, sha256: str) -> None:
        """Number the change of a video that gained a source its document has no room for: search reads it elsewhere."""
        if self._videos.find_one({"_id": sha256, LAST_URL: {"$exists": True}}, {"_id": 1}):
            (number,) = self._changes.take()
            self._videos.update_one({"_id": sha256}, {"$set": {"change_seq": number}})

    def _new_document(self, sha256: str, facts: IngestFacts, store: str) -> Document:
        stages: Document = {stage.name: new_entry(self._graph, stage.name) for stage in self._graph}
        stages[INGEST] = {"status": "ok", "data": self._graph.data_versions(INGEST, facts)}
        document: Document = {"_id": sha256, "added_at": server_clock.now(), INGEST: facts.model_dump()}
        document |= {PLACE: {"media": store}} if store != LOCAL else {}
        (number,) = self._changes.take()
        return {**document, "stages": stages, "change_seq": number}

    def _replace(self, changed: Sequence[tuple[Document, IngestFacts]]) -> bool:
        """Store the new facts of documents, and return whether none of the documents changed after it was read."""
        numbers = self._changes.take(len(changed))
        updates = [self._replacement(*one, number) for one, number in zip(changed, numbers, strict=True)]
        return self._videos.bulk_write(updates, ordered=False).matched_count == len(updates)

    def _replacement(self, known: Document, after: IngestFacts, change_seq: int) -> UpdateOne:
        """Return the update to new facts, on the condition that the facts are still those that were read."""
        from pymongo import UpdateOne

        before = IngestFacts.model_validate(known[INGEST])
        old, new = (self._graph.data_versions(INGEST, facts) for facts in (before, after))
        changed = [name for name in {**old, **new} if new.get(name) != old.get(name)]
        values: Document = {INGEST: after.model_dump(), f"stages.{INGEST}.data": new, "change_seq": change_seq}
        values.update({f"stages.{reader}.stale": True for reader in self._graph.readers(INGEST, changed)})
        return UpdateOne({"_id": known["_id"], INGEST: known[INGEST]}, {"$set": values})

    def resolve(self, name: str) -> str:
        """Return the sha256 of the video with this hash prefix (4 digits or more), URL, path or file name.

        URLs and paths may be percent-encoded or decoded.

        Raises:
            NoSuchVideo: No video matches, or several do.
        """
        found = self.named(name)
        if not found and "/" in name and "://" not in name:
            found = self._ids({"ingest.names": readable(name.rsplit("/", 1)[1])})
        if not found:
            short = " A hash prefix needs at least four digits." if _SHORT_PREFIX.match(name.lower()) else ""
            raise NoSuchVideo(f"No video matches '{name}'.{short}", "`vidpipe list` shows all; `vidpipe add` adds one.")
        if len(found) > 1:
            some = ", ".join(sha256[:12] for sha256 in found[:5])
            raise NoSuchVideo(
                f"'{name}' matches {len(found)} videos: {some}{', …' if len(found) > 5 else ''}.",
                "Use more digits of the hash.",
            )
        return found[0]

    def named(self, name: str) -> list[str]:
        """Return the sha256 of the videos with this hash prefix, URL, path, or file name with or without its suffix.

        A URL that led to several videos means the latest.
        """
        path = path_text(Path(name).absolute()) if "/" in name else readable(name)
        spellings = list(stored_spellings(name))
        name = spellings[0]
        found: list[str] = []
        if _HASH_PREFIX.match(name.lower()):
            prefix = name.lower()
            found = self._ids({"_id": {"$gte": prefix, "$lte": prefix + "g"}})
        if not found:
            of_sources = self._sources.find({"url": {"$in": spellings}, "video": {"$ne": None}}, {"video": 1})
            found = sorted({source["video"] for source in of_sources}) or self._ids({"ingest.urls": {"$in": spellings}})
        if not found:
            found = self._ids({"ingest.names": name}) or self._ids({"ingest.path": {"$in": [name, path]}})
        if not found and len(name) <= _LONGEST_NAME and "\0" not in name:
            stem = re.compile(f"^{re.escape(name)}(\\.[^.]*)?$", re.IGNORECASE)
            found = self._ids({"ingest.names": stem})
        return found

    def _ids(self, query: Document) -> list[str]:
        return [document["_id"] for document in self._videos.find(query, {"_id": 1}).limit(100)]

    def get(self, sha256: str) -> Document | None:
        """Return a video's document."""
        return self._videos.find_one({"_id": sha256})

    def scenes(self, ids: Sequence[str]) -> dict[str, list[Document]]:
        """Return sha256 -> the scenes in force, in order."""
        query = {"_id": {"$in": list(ids)}, "scene_generation": {"$ne": None}}
        rows = self._videos.find(query, {"scene_generation": 1})
        return self.scenes_of({row["_id"]: row["scene_generation"] for row in rows})

    def scenes_of(self, generations: Mapping[str, str]) -> dict[str, list[Document]]:
        """Return sha256 -> the scenes of the given generation, in order."""
        found: dict[str, list[Document]] = {sha256: [] for sha256 in generations}
        if not generations:
            return found
        query = {"$or": [{"video": sha256, "generation": generation} for sha256, generation in generations.items()]}
        for row in self._scenes.find(query).sort([("video", 1), ("index", 1)]):
            found[row["video"]].append(row)
        return found

    def count(self) -> int:
        """Return the exact number of videos; the server's estimate may be a minute old after a kill."""
        return self._videos.count_documents({}, hint="_id_")


def projection(graph: StageGraph, reads: Iterable[str], results: Iterable[str] = ()) -> dict[str, int]:
    """Return the projection of a video's document that holds the fields a stage reads.

    Args:
        graph: The stages.
        reads: The fields ("stage.field").
        results: Stages whose whole stored result is needed.
    """
    paths: set[str] = {"stages", "scene_generation", "lease", "ingest.names", f"{PLACE}.media"}
    for read in map(FieldRead.parse, reads):
        model = graph.result_model(read.stage)
        if read.field not in model.scene_fields:
            paths.add(".".join(filter(None, graph.place(read))))
    paths.update(".".join(filter(None, place)) for stage in results for place in _places(graph, stage))
    # MongoDB rejects a path beside its own parent.
    return {path: 1 for path in paths if not any(path.startswith(f"{other}.") for other in paths)}


def _places(graph: StageGraph, stage: str) -> set[tuple[str, str | None]]:
    """Return where the result of a stage is stored."""
    model = graph.result_model(stage)
    if not model.root:
        return {(graph.key(stage), None)}
    return {graph.place(FieldRead(stage, name)) for name in model.model_fields}


def read_fields(
    graph: StageGraph,
    reads: tuple[str, ...],
    document: Document,
    scenes: Sequence[Document],
    optional: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the typed values of the fields `reads` ("stage.field") of a stored document.

    Those of `reads` that are in `optional` are None if their stage has no result of today's shape.

    Raises:
        KeyError: Another stage has no result in it.
    """

    def values_of(names: tuple[str, ...]) -> dict[str, Any]:
        places, adapter = _reading(graph, names)
        stored = [
            scenes if key is None else document[key] if field is None else document[key][field] for key, field in places
        ]
        return dict(zip(names, adapter.validate_python(stored), strict=True))

    fields = values_of(tuple(name for name in reads if name not in optional))
    for name in (name for name in reads if name in optional):
        try:
            fields |= values_of((name,))
        except (KeyError, TypeError, ValidationError):
            fields[name] = None
    return fields


@cache
def _reading(
    graph: StageGraph, reads: tuple[str, ...]
) -> tuple[list[tuple[str | None, str | None]], TypeAdapter[tuple[Any, ...]]]:
    """Return (key in the document, None for scenes; key therein) of each field, and the adapter for all values."""
    places: list[tuple[str | None, str | None]] = []
    types: list[Any] = []
    for read in map(FieldRead.parse, reads):
        model = graph.result_model(read.stage)
        places.append((None, None) if read.field in model.scene_fields else graph.place(read))
        types.append(model.model_fields[read.field].annotation)
    values: Any = tuple.__class_getitem__(tuple(types))
    return places, TypeAdapter(values)


def read_result(graph: StageGraph, stage: str, document: Document) -> StageResult | None:
    """Return a stage's stored result, its scene fields empty; None if there is none of today's shape."""
    model = graph.result_model(stage)
    stored = document.get(graph.key(stage))
    if stored is None:
        return None
    values = {name: document.get(name, ()) for name in model.model_fields} if model.root else stored
    values |= {next(iter(model.model_fields)): stored} if model.root else {}
    try:
        return model.model_validate({**dict.fromkeys(model.scene_fields, ()), **values})
    except ValidationError:
        log.warning("the stored result of %s of video %s has an outdated shape", stage, document["_id"][:12])
        return None


def stored_path(video: Mapping[str, Any]) -> str:
    """Return the path of a video's file as stored, by its document."""
    return str((video.get("raw_video") or video[INGEST])["path"])


def name_of(video: Mapping[str, Any]) -> str:
    """Return the name of a video, by its document, as lists show it."""
    names: Sequence[str] = (video.get(INGEST) or {}).get("names") or ()
    return names[0] if names else str(video["_id"])[:12]


def title_of(facts: Mapping[str, Any], metadata: Mapping[str, Any]) -> str | None:
    """Return a video's title according to its sources, else to its file.

    Args:
        facts: The video's stored ingest facts.
        metadata: Its stored metadata.
    """
    return next(iter(facts.get("titles") or ()), metadata.get("title"))


class VideoIds:
    """Video ids in 32 bytes each, so that a million fit in a list."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._bytes = array("B")
        self.extend(ids)

    def extend(self, ids: Iterable[str]) -> None:
        """Append ids.

        Raises:
            ValueError: One of them is not a sha256 in hex.
        """
        for sha256 in ids:
            digest = bytes.fromhex(sha256)
            if len(digest) != 32:  # any other length would shift all that follow
                raise ValueError(f"{sha256!r} is not a sha256 in hex")
            self._bytes.frombytes(digest)

    def __len__(self) -> int:
        return len(self._bytes) // 32

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self._bytes), 32):
            yield self._bytes[start : start + 32].tobytes().hex()


def chunked(entries: Iterable[Entry], size: int = 500) -> Iterator[list[Entry]]:
    """Yield lists of at most `size` entries: a long `$in` is sent in parts."""
    remaining = iter(entries)
    while chunk := list(islice(remaining, size)):
        yield chunk
