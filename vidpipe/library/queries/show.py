"""Everything that is known of one video, combined from its documents: the output of `vidpipe show` and of exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vidpipe.library import server_clock
from vidpipe.library.annotations import in_order_of_addition
from vidpipe.library.schema import Document
from vidpipe.library.states import WORST_FIRST, State, classify
from vidpipe.library.videos import NoSuchVideo, name_of, title_of
from vidpipe.settings.analyses import ANALYSES
from vidpipe.sources.records import SourceRecord
from vidpipe.sources.urls import readable_url
from vidpipe.stages.contract import INGEST
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.results import margin_of

if TYPE_CHECKING:
    from vidpipe.library.library import Library

_SOURCE_FIELDS = {
    "url", "kind", "state", "attempts", "video", "earlier_videos", "content_type", "final_url", "size_bytes",
    "file_name", "last_error", "failed_at", "next_try_at", "first_seen", "last_fetched", "title", "labels", "priority",
    "licence", "segments", "gone_since", "data",
}  # fmt: skip
_SCENE_FIELDS = (
    "index", "start_s", "end_s", "start_frame", "end_frame", "thumbnail", "description", "described_by", "answers",
    "active_area", "stats",
)  # fmt: skip
#: What `summary` needs of a video's document, besides `CLASSIFIED_BY` of each of its `stages`.
SUMMARY_FIELDS = (
    "added_at", "ingest.names", "ingest.urls", "ingest.labels", "ingest.titles", "metadata.duration_s",
    "metadata.width", "metadata.height", "metadata.resolution", "metadata.video_codec", "metadata.title",
    "scenes.count", "scenes.poster", "scenes.damage.sentence", "scenes.duration_s", "category.category",
    "sentiment.label", "tags.tag", "description.text",
)  # fmt: skip
#: Embeddings are not for people.
_UNREAD = {"meaning.vector": 0, "meaning.frame_vectors": 0, "meaning.parts.vector": 0}
_STAGE_FIELDS = ("error", "attempts", "next_try_at", "spec", "seconds", "at", "run")


def overall_state(document: Document, specs: Mapping[str, str]) -> State:
    """Return a video's state: the worst of its stages' states.

    Args:
        document: The video's document with `stages`.
        specs: Today's spec of each stage that can run.
    """
    now = server_clock.now()
    states = {classify(document["stages"].get(stage, {}), spec, now) for stage, spec in specs.items()}
    return next((state for state in WORST_FIRST if state in states), "current")


def summary(document: Document, specs: Mapping[str, str]) -> Document:
    """Return what lists and searches show of a video.

    Args:
        document: The video's document with what `SUMMARY_FIELDS` says.
        specs: Today's spec of each stage that can run.
    """
    facts: Document = document[INGEST]
    metadata: Document = document.get("metadata") or {}
    scenes: Document = document.get("scenes") or {}
    return {
        "video": document["_id"],
        "name": name_of(document),
        "title": title_of(facts, metadata),
        "labels": facts.get("labels", []),
        "added_at": document.get("added_at"),
        "duration_s": scenes.get("duration_s") or metadata.get("duration_s"),
        **{name: metadata.get(name) for name in ("width", "height", "resolution", "video_codec")},
        "scenes": scenes.get("count"),
        "thumbnail": scenes.get("poster"),
        "damage": (scenes.get("damage") or {}).get("sentence"),
        "category": (document.get("category") or {}).get("category"),
        "sentiment": (document.get("sentiment") or {}).get("label"),
        "tags": [tag["tag"] for tag in document.get("tags") or ()],
        "description": (document.get("description") or {}).get("text"),
        "urls": [readable_url(url) for url in facts.get("urls", ())],
        "state": overall_state(document, specs),
    }


def view(library: Library, sha256: str, specs: Mapping[str, str]) -> Document:
    """Return one video: video, sources, metadata, scenes, description, sentiment, tags, category, stages, damage.

    Likewise what `vidpipe check` found (`checked`), and the result of each of vidpipe's analyses, also of one that is
    disabled now, and of enabled plugins.

    The `title` of the video is the first of its sources' `titles`, else the file's. `names`, `urls` and `titles` are
    the first hundred, `sources` all of them. Missing results are None (scenes and tags: an empty list).

    Args:
        library: The library.
        sha256: The video.
        specs: Today's spec of each stage that can run; the others' state is "unknown".

    Raises:
        NoSuchVideo: The library has no such video.
    """
    for found in views(library, [sha256], specs):
        return found
    raise _unknown(sha256)


def stored_fields(library: Library, sha256: str, *fields: str) -> Document:
    """Return these fields of a video's document, as far as there are any.

    Raises:
        NoSuchVideo: The library has no such video.
    """
    found = library.collections["videos"].find_one({"_id": sha256}, {"_id": 1, **dict.fromkeys(fields, 1)})
    if found is None:
        raise _unknown(sha256)
    return found


def _unknown(sha256: str) -> NoSuchVideo:
    return NoSuchVideo(f"No video has the hash {sha256[:12]}.", "`vidpipe list` shows all.")


def views(library: Library, ids: Sequence[str], specs: Mapping[str, str]) -> Iterator[Document]:
    """Yield the `view` of several videos, in the order of `ids`, in five queries; unknown ids are left out."""
    with library.connection.errors_explained():
        found = {row["_id"]: row for row in library.collections["videos"].find({"_id": {"$in": list(ids)}}, _UNREAD)}
        generations = {sha256: row["scene_generation"] for sha256, row in found.items() if row.get("scene_generation")}
        scenes = library.videos.scenes_of(generations)
        sources = _sources(library, list(found))
        shared = {origin for row in found.values() if (origin := (row.get("description") or {}).get("shared_from"))}
        origins = library.collections["videos"].find({"_id": {"$in": sorted(shared)}}, {"ingest.names": 1})
        names = {row["_id"]: name_of(row) for row in origins}
        for description in (row.get("description") or {} for row in found.values()):
            if origin := description.get("shared_from"):
                description["shared_from_name"] = names.get(origin, origin[:12])
    for sha256 in ids:
        if sha256 in found:
            yield view_of(library.graph, found[sha256], scenes.get(sha256, ()), sources.get(sha256, ()), specs)


def described_by(description: Mapping[str, Any]) -> str:
    """Return which model described a video, and the copy whose description it shares."""
    origin = description.get("shared_from_name") or description.get("shared_from", "")[:12]
    return (description.get("model") or "") + (f", shared from {origin}" if origin else "")


def answers_of(library: Library, sha256: str) -> list[Document]:
    """Return every answer of the model about a video, by scope and time.

    Each has what it was made of (see `AnswerCell`), the run and the time; `in_force`: the stored description is made of
    it.
    """
    row = library.collections["videos"].find_one({"_id": sha256}, {"description.answers": 1}) or {}
    in_force = set((row.get("description") or {}).get("answers") or ())
    found = [
        {**asdict(cell), "run": stored.get("run"), "at": stored.get("at"), "in_force": cell.key in in_force}
        for cell, stored in library.cells().of_video(sha256)
    ]
    return sorted(found, key=lambda answer: (answer["scope"] == "scene", answer["start_s"], not answer["in_force"]))


def said(document: Mapping[str, Any]) -> list[Document]:
    """Return what is said, with `start_s`, `end_s` and `text`: recognized speech, else the first subtitle stream.

    Args:
        document: A video's document or `view`, with `speech` and `metadata`.
    """
    metadata = document.get("metadata") or {}
    cues = metadata.get("cues") or ()
    first = min((cue["stream"] for cue in cues), default=None)
    languages = {stream["index"]: stream["language"] for stream in metadata.get("subtitles") or ()}
    in_first = [{**cue, "language": languages.get(first)} for cue in cues if cue["stream"] == first]
    return list((document.get("speech") or {}).get("segments") or in_first)


def _sources(library: Library, ids: list[str]) -> dict[str, list[Document]]:
    by_video: dict[str, list[Document]] = {sha256: [] for sha256 in ids}
    for row in in_order_of_addition(library.collections["sources"], ids):
        record = SourceRecord.model_validate({"id": row["_id"], **row})
        shown = shown_source(record)
        for sha256 in {record.video, *record.earlier_videos}:
            if sha256 in by_video:
                by_video[sha256].append(shown)
    return by_video


def shown_source(record: SourceRecord) -> Document:
    """Return what `view` contains of a source."""
    return record.model_dump(include=_SOURCE_FIELDS) | {"url": readable_url(record.url)}


def view_of(
    graph: StageGraph,
    document: Document,
    scenes: Sequence[Document],
    sources: Sequence[Document],
    specs: Mapping[str, str],
) -> Document:
    """Return the `view` of a video's document, with its scenes, and its sources as `shown_source` returns them."""
    facts: Document = document[INGEST]
    summary: Document | None = document.get("scenes")
    category: Document | None = document.get("category")
    nothing: Document = {"subcategory": None, "other_reasons": []}
    return {
        "video": {
            "sha256": document["_id"],
            "name": name_of(document),
            "names": list(facts.get("names") or ()),
            "urls": [readable_url(url) for url in facts.get("urls") or ()],
            "title": title_of(facts, document.get("metadata") or {}),
            "titles": list(facts.get("titles") or ()),
            "labels": list(facts.get("labels") or ()),
            "path": facts["path"],
            "size_bytes": facts["size_bytes"],
            "referenced": facts.get("referenced", False),
            "added_at": document.get("added_at"),
            "state": overall_state(document, specs),
        },
        "sources": list(sources),
        "metadata": _without(_as_decoded(document.get("metadata"), summary), "title_words"),
        "scenes": [_fields(row, _SCENE_FIELDS) for row in scenes],
        "scene_summary": _without(summary, "thumbnails", "damage") if summary else None,
        "thumbnails": list((summary or {}).get("thumbnails") or ()),
        "damage": (summary or {}).get("damage"),
        "checked": document.get("checked"),
        "description": _without(document.get("description"), "answers"),
        "sentiment": document.get("sentiment"),
        "tags": list(document.get("tags") or ()),
        "scene_tags": list(document.get("scene_tags") or ()),
        "category": category and nothing | category | {"margin": margin_of(category.get("candidates", ()))},
        **{name: document.get(name) for name in ANALYSES},
        **{stage.key: document.get(stage.key) for stage in graph if stage.optional},
        "fingerprint": _without(document.get("fingerprint"), "hashes", "flat", "whole", "sound"),
        "stages": {
            stage.name: _stage(document["stages"].get(stage.name, {}), specs.get(stage.name)) for stage in graph
        },
    }


def _as_decoded(metadata: Document | None, scenes: Document | None) -> Document | None:
    """Return the metadata with the number of frames and the duration that a decode of all frames measured."""
    if not metadata or not scenes or not scenes.get("duration_s") or scenes.get("decoded") == "partial":
        return metadata
    decoded = {"frame_count": scenes["frames_decoded"], "duration_s": scenes["duration_s"]}
    return metadata | decoded | {"frame_count_source": "decode", "duration_source": "decode"}


def _stage(entry: Mapping[str, Any], spec: str | None) -> Document:
    state = classify(entry, spec) if spec is not None else "unknown"
    return {"state": state, **_fields(entry, _STAGE_FIELDS)}


def _fields(document: Mapping[str, Any], names: Sequence[str]) -> Document:
    return {name: document.get(name) for name in names}


def _without(document: Document | None, *names: str) -> Document | None:
    return {name: value for name, value in document.items() if name not in names} if document is not None else None
