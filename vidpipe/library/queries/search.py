"""Finding videos and scenes by words and filters, most relevant first.

Words go to MongoDB's text index: any of them may match, "a phrase" in quotation marks must, and -this must not. If that
finds nothing, names, tags and texts are searched for parts of words. User input is only ever a value in a query, never
an operator or a pattern.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pymongo.errors import OperationFailure

from vidpipe.errors import SettingsError, readable
from vidpipe.library.library import Library
from vidpipe.library.queries.show import overall_state
from vidpipe.library.schema import LAST_URL, Document
from vidpipe.library.videos import chunked, title_of
from vidpipe.sources.urls import either_spelling, readable_url
from vidpipe.text import names
from vidpipe.text.words import label_pattern

How = Literal["words", "parts of words", "filters"]

SENTIMENTS = ("positive", "neutral", "negative", "no basis")

_MAX_CHARACTERS = 1000
_SCENE_BATCH = 200
_NO_TEXT_INDEX = 27
_SIZE = re.compile(r"^(\d{1,5})\s*[xX×]\s*(\d{1,5})$")
_TERM = re.compile(r'(-?)(?:"([^"]+)"|(\S+))')
_NAME_PART = re.compile(r"[^\W_]+")
_SEARCHED_FIELDS = (
    "ingest.names", "ingest.urls", "ingest.labels", "ingest.titles", "tags.tag", "category.category",
    "metadata.title", "description.text", "description.summary", "description.keywords",
)  # fmt: skip

_SCORE = {"$meta": "textScore"}
_LATEST_FIRST: list[tuple[str, Any]] = [("added_at", -1), ("_id", 1)]

_HIT_FIELDS = (
    "added_at", "ingest.names", "ingest.urls", "ingest.labels", "ingest.titles", "metadata.duration_s",
    "metadata.width", "metadata.height", "metadata.resolution", "metadata.video_codec", "metadata.title",
    "scenes.count", "scenes.poster", "scenes.damage.sentence", "scenes.duration_s", "category.category",
    "sentiment.label", "tags.tag", "description.text",
)  # fmt: skip

#: MongoDB rejects patterns that compile to more than 64 kB.
_LONGEST_PATTERN = 16_000


class Filters(BaseModel):
    """Conditions on videos, case-insensitive. All tags and labels must match, and one of each other kind.

    Attributes:
        tags: Tags.
        labels: Labels of sources.
        categories: Categories.
        resolutions: Names (4K, 1080p) or sizes (1280x720).
        codecs: Video codecs.
        sentiments: Of `SENTIMENTS`.
        sources: Parts of a URL or file name.
        min_duration_s: Shortest duration in seconds.
        max_duration_s: Longest duration in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tags: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ()
    codecs: tuple[str, ...] = ()
    sentiments: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    min_duration_s: float | None = Field(None, ge=0, allow_inf_nan=False)
    max_duration_s: float | None = Field(None, ge=0, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_stored(cls, value: object) -> object:
        """Make file names that are not UTF-8 readable, as they are stored."""
        if not isinstance(value, tuple):
            return value
        return tuple(readable(part) if isinstance(part, str) else part for part in value)

    def query(self, of_sources: Sequence[str] = ()) -> Document:
        """Return the conditions on a video's document.

        Args:
            of_sources: Further videos with one of `sources`, see `query_of`.

        Raises:
            SettingsError: A name that no video can have.
        """
        conditions: list[Document] = [{"tags.tag": _whole(tag)} for tag in self.tags]
        conditions += [{"ingest.labels": _pattern(f"^{label_pattern(label)}$")} for label in self.labels]
        if self.categories:
            conditions.append({"category.category": {"$in": [_whole(name) for name in self.categories]}})
        if self.resolutions:
            conditions.append({"$or": [_resolution(name) for name in self.resolutions]})
        if self.codecs:
            spellings = sorted({spelling for name in self.codecs for spelling in (names.codec(name), name.lower())})
            conditions.append({"metadata.video_codec": {"$in": spellings}})
        if self.sentiments:
            conditions.append({"sentiment.label": {"$in": [_sentiment(label) for label in self.sentiments]}})
        if self.sources:
            parts = [_part(source) for source in self.sources]
            in_document = [{"ingest.urls": {"$in": parts}}, {"ingest.names": {"$in": parts}}]
            conditions.append({"$or": [*in_document, {"_id": {"$in": list(of_sources)}}]})
        bounds = {"$gte": self.min_duration_s, "$lte": self.max_duration_s}
        duration = {operator: bound for operator, bound in bounds.items() if bound is not None}
        if duration:
            decoded = {"scenes.duration_s": {"$gt": 0, **duration}}
            not_yet_decoded = {"scenes.duration_s": {"$in": [None, 0]}, "metadata.duration_s": duration}
            conditions.append({"$or": [decoded, not_yet_decoded]})
        return {"$and": conditions} if conditions else {}


def query_of(library: Library, filters: Filters | None) -> Document:
    """Return `filters.query` for this library.

    It includes videos that match `sources` only by URLs missing in their documents.

    Raises:
        SettingsError: A name that no video can have.
    """
    filters = filters or Filters()
    return filters.query(_with_source(library, [_part(source) for source in filters.sources]))


def _with_source(library: Library, parts: Sequence[re.Pattern[str]]) -> list[str]:
    """Return the videos, of those whose documents cannot hold all URLs, with a source that matches one of `parts`."""
    if not parts:
        return []
    with library.connection.errors_explained():
        full = [row["_id"] for row in library.collections["videos"].find({LAST_URL: {"$exists": True}}, {"_id": 1})]
        either = [{"url": {"$in": list(parts)}}, {"file_name": {"$in": list(parts)}}]
        query = {"video": {"$in": full}, "$or": either}
        return library.collections["sources"].distinct("video", query) if full else []


@dataclass(frozen=True)
class SearchPage:
    """A page of hits.

    Attributes:
        hits: The hits.
        how: What they were found by.
        more: Whether there are more after them.
    """

    hits: list[Document]
    how: How
    more: bool


def find_videos(
    library: Library,
    words: str = "",
    filters: Filters | None = None,
    *,
    limit: int = 20,
    offset: int = 0,
    specs: Mapping[str, str] | None = None,
) -> SearchPage:
    """Return videos that match `words` and `filters`, the most relevant first; without words the latest first.

    Args:
        library: The library.
        words: Search words.
        filters: Conditions.
        limit: Most hits to return; 0 for all.
        offset: Hits to skip.
        specs: Today's specs, to add each hit's `state`.

    Raises:
        SettingsError: A filter that no video can match.
        UnavailableError: MongoDB is unavailable.
    """
    query = query_of(library, filters)
    words = _usable(words)
    fields: Document = dict.fromkeys(_HIT_FIELDS, 1)
    for stage in specs or ():
        fields |= {f"stages.{stage}.{field}": 1 for field in ("status", "ready", "stale", "spec", "next_try_at")}
    videos = library.collections["videos"]

    def page(query: Document, how: How, order: list[tuple[str, Any]]) -> SearchPage:
        score: Document = {"score": _SCORE} if how == "words" else {}
        cursor = videos.find(query, fields | score).sort(order).skip(offset).limit(limit + 1 if limit else 0)
        return _page((_video_hit(row, specs) for row in cursor), limit, how)

    with library.connection.errors_explained():
        if not words:
            return page(query, "filters", _LATEST_FIRST)
        try:
            text = {"$text": {"$search": _with_parts_of_names(words)}}
            found = page(_and(text, query), "words", [("score", _SCORE), ("_id", 1)])
        except OperationFailure as error:
            if error.code != _NO_TEXT_INDEX:
                raise
            found = SearchPage([], "words", more=False)
        if found.hits or (offset and find_videos(library, words, filters, limit=1).how == "words"):
            return found
        return page(_and(_parts_query(words, _SEARCHED_FIELDS, library), query), "parts of words", _LATEST_FIRST)


def find_scenes(
    library: Library, words: str = "", filters: Filters | None = None, *, limit: int = 20, offset: int = 0
) -> SearchPage:
    """Return scenes whose description matches `words`, of videos that match `filters`, the most relevant first.

    Args:
        library: The library.
        words: Search words; without them every scene of those videos.
        filters: Conditions on the videos.
        limit: Most hits to return; 0 for all.
        offset: Hits to skip.
    """
    words = _usable(words)
    with library.connection.errors_explained():
        if not words:
            rows = _scenes_by_video(library, filters)
            return _page(islice(rows, offset, offset + limit + 1 if limit else None), limit, "filters")
        attempts: tuple[tuple[How, Document], ...] = (
            ("words", {"$text": {"$search": words}}),
            ("parts of words", _parts_query(words, ("description",))),
        )
        for how, query in attempts:
            try:
                rows = _scenes_in_force(library, query, how, filters)
                skipped = sum(1 for _ in islice(rows, offset))
                found = _page(islice(rows, limit + 1 if limit else None), limit, how)
            except OperationFailure as error:
                if error.code != _NO_TEXT_INDEX or how != "words":
                    raise
                continue
            if skipped or found.hits:
                return found
        return found


def _scenes_in_force(library: Library, query: Document, how: How, filters: Filters | None) -> Iterator[Document]:
    """Yield scenes of the generation in force; older ones may remain for a while."""
    score: Document = {"score": _SCORE} if how == "words" else {}
    order: list[tuple[str, Any]] = [("score", _SCORE)] if how == "words" else []
    cursor = library.collections["scenes"].find(query, score).sort([*order, ("video", 1), ("index", 1)])
    of_videos = query_of(library, filters)
    fields = {"scene_generation": 1, "ingest.names": 1}
    for batch in chunked(cursor, _SCENE_BATCH):
        in_batch = {"_id": {"$in": list({row["video"] for row in batch})}}
        videos = {row["_id"]: row for row in library.collections["videos"].find(_and(in_batch, of_videos), fields)}
        for row in batch:
            video = videos.get(row["video"])
            if video is not None and video.get("scene_generation") == row["generation"]:
                yield _scene_hit(row, video)


def _scenes_by_video(library: Library, filters: Filters | None) -> Iterator[Document]:
    fields = {"scene_generation": 1, "ingest.names": 1}
    cursor = library.collections["videos"].find(query_of(library, filters), fields).sort(_LATEST_FIRST)
    for batch in chunked(cursor, 50):
        generations = {row["_id"]: row["scene_generation"] for row in batch if row.get("scene_generation")}
        scenes = library.videos.scenes_of(generations)
        for video in batch:
            for row in scenes.get(video["_id"], ()):
                yield _scene_hit(row, video)


def _video_hit(row: Document, specs: Mapping[str, str] | None) -> Document:
    facts: Document = row["ingest"]
    metadata: Document = row.get("metadata") or {}
    scenes: Document = row.get("scenes") or {}
    hit: Document = {
        "video": row["_id"],
        "name": _name(row),
        "title": title_of(facts, metadata),
        "labels": facts.get("labels", []),
        "score": _score(row),
        "added_at": row.get("added_at"),
        "duration_s": scenes.get("duration_s") or metadata.get("duration_s"),
        **{name: metadata.get(name) for name in ("width", "height", "resolution", "video_codec")},
        "scenes": scenes.get("count"),
        "thumbnail": scenes.get("poster"),
        "damage": (scenes.get("damage") or {}).get("sentence"),
        "category": (row.get("category") or {}).get("category"),
        "sentiment": (row.get("sentiment") or {}).get("label"),
        "tags": [tag["tag"] for tag in row.get("tags") or ()],
        "description": (row.get("description") or {}).get("text"),
        "urls": [readable_url(url) for url in facts.get("urls", ())],
    }
    return hit if specs is None else {**hit, "state": overall_state(row, specs)}


def _scene_hit(row: Document, video: Document) -> Document:
    fields = ("video", "index", "start_s", "end_s", "description", "thumbnail")
    return {**{name: row.get(name) for name in fields}, "name": _name(video), "score": _score(row)}


def _name(video: Document) -> str:
    file_names: Sequence[str] = video["ingest"].get("names") or ()
    return file_names[0] if file_names else video["_id"][:12]


def _score(row: Document) -> float | None:
    return round(row["score"], 3) if "score" in row else None


def _page(hits: Iterator[Document], limit: int, how: How) -> SearchPage:
    found = list(hits)
    return SearchPage(found[:limit] if limit else found, how, bool(limit) and len(found) > limit)


def _usable(words: str) -> str:
    return " ".join(readable(words).replace("\0", " ").split())[:_MAX_CHARACTERS]


def _with_parts_of_names(words: str) -> str:
    """Add the parts of each word with an underscore (`my_holiday`), at which the text index does not split."""
    compound = [word for minus, _, word in _TERM.findall(words) if not minus and "_" in word]
    return " ".join([words, *(part for word in compound for part in _NAME_PART.findall(word))])


def _parts_query(words: str, fields: Sequence[str], library: Library | None = None) -> Document:
    """Return a query: every word is part of one of `fields`; no word that begins with - is.

    Args:
        words: The words.
        fields: The fields.
        library: Also search its sources that documents cannot hold.
    """
    conditions: list[Document] = []
    for minus, phrase, word in _TERM.findall(words):
        part = _part(phrase or word)
        anywhere: list[Document] = [{field: part} for field in fields]
        if library and (others := _with_source(library, [part])):
            anywhere.append({"_id": {"$in": others}})
        conditions.append({"$nor": anywhere} if minus else {"$or": anywhere})
    return {"$and": conditions} if conditions else {"_id": None}


def _and(first: Document, second: Document) -> Document:
    return {"$and": [first, second]} if second else first


def _whole(text: str) -> re.Pattern[str]:
    return _pattern(f"^{re.escape(text)}$")


def _part(text: str) -> re.Pattern[str]:
    return _pattern(either_spelling(text))


def _pattern(expression: str) -> re.Pattern[str]:
    if len(expression) > _LONGEST_PATTERN:
        raise SettingsError("The search text is too long.", "Search for a part of it.")
    return re.compile(expression.replace("\0", ""), re.IGNORECASE)  # BSON allows no NUL in a pattern


def _resolution(name: str) -> Document:
    size = _SIZE.match(name.strip())
    if size:
        return {"metadata.width": int(size[1]), "metadata.height": int(size[2])}
    known = names.resolution(name)
    if known not in names.RESOLUTIONS:
        allowed = f"Allowed: {', '.join(names.RESOLUTIONS)}, 1080p and the like, and sizes such as 1280x720."
        raise SettingsError(f"'{name}' is not a resolution.", allowed)
    return {"metadata.resolution": known}


def _sentiment(label: str) -> str:
    if label.lower() not in SENTIMENTS:
        raise SettingsError(f"'{label}' is not a sentiment.", f"Allowed: {', '.join(SENTIMENTS)}.")
    return label.lower()
