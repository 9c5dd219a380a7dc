"""Completions of a query that is being written: fields, their values, saved searches and words."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from weakref import WeakKeyDictionary

from tantivy import Query

from vidpipe.library.states import STATES
from vidpipe.search.documents import facet_path, unmarked
from vidpipe.search.fields import SAVED, STATE
from vidpipe.search.grammar import Unfinished, quoted, unfinished
from vidpipe.search.index import SearchIndex
from vidpipe.search.saved import SavedSearches
from vidpipe.search.translation import Translation
from vidpipe.stages.search_fields import SearchField
from vidpipe.text.stems import PLAIN, folded, words_in

#: Values of a field that are completed.
_MOST_VALUES = 1000
#: Counts of values are this old at most.
_COUNTED_EVERY_S = 10.0
#: Letters of a word that is completed: fewer begin too many.
_SHORTEST = 2
#: Words that are looked at for those that occur in one field.
_MOST_LOOKED_AT = 200
#: A value that needs no quotation marks.
_BARE = re.compile(r"\w(?:[\w.+#/-]*\w)?")
#: The time of counting, and field -> value -> number of videos.
_counted: WeakKeyDictionary[SearchIndex, tuple[float, dict[str, dict[str, int]]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Completion:
    """What the end of a query may become.

    Attributes:
        text: Replaces the query from `start`.
        kind: field, word, saved; or the field whose value it is.
        start: Index of a character of the query.
        count: Number of videos; None: not counted.
        help: One sentence about a field.
    """

    text: str
    kind: str
    start: int
    count: int | None = None
    help: str = ""


def complete(query: str, index: SearchIndex, limit: int = 20) -> list[Completion]:
    """Return the completions of the last word or value of `query`, best first; none if it is finished.

    Args:
        query: As written so far.
        index: The library's index.
        limit: Most completions.
    """
    end = unfinished(query, index.fields)
    if end is None:
        return []
    found: Iterable[Completion]
    field = index.fields.get(end.field)
    if end.field == STATE:
        found = (Completion(f"{STATE}:{name}", STATE, end.start) for name in STATES if name.startswith(end.text))
    elif end.field == SAVED:
        found = _saved(index, end)
    elif field is None:
        values = (one for name in index.fields.facets for one in _values(index, name, end)) if end.text else iter(())
        ranked = sorted(values, key=lambda one: -(one.count or 0))[: limit // 2]
        found = (*_fields(index, end), *ranked, *_saved(index, end), *_words(index, end, None))
    elif field.kind == "term":
        found = _values(index, field.name, end)
    else:
        found = _words(index, end, field) if field.kind in ("text", "moments") else ()
    return list(islice(found, limit))


def _fields(index: SearchIndex, end: Unfinished) -> Iterator[Completion]:
    known = {STATE: "State of its stages.", SAVED: "A saved search."}
    for name, text in sorted((known | {field.name: field.help for field in index.fields}).items()):
        if name.startswith(end.text.lower()):
            yield Completion(f"{name}:", "field", end.start, help=text)


def _values(index: SearchIndex, name: str, end: Unfinished) -> Iterator[Completion]:
    """Yield the values of a field that begin as written, then those with another word that does; each by frequency."""
    written = folded(end.text).strip()
    later = []
    for value, count in _counts(index).get(name, {}).items():
        shown = value if _BARE.fullmatch(value) else quoted(value)
        completion = Completion(f"{name}:{shown}", name, end.start, count)
        if folded(value).startswith(written):
            yield completion
        elif f" {written}" in folded(value):
            later.append(completion)
    yield from later


def _saved(index: SearchIndex, end: Unfinished) -> Iterator[Completion]:
    for one in SavedSearches(index.library.collections).all() if end.text or end.field else ():
        if one.name.lower().startswith(end.text.lower()):
            yield Completion(f"{SAVED}:{one.name}", SAVED, end.start, help=one.query)


def _words(index: SearchIndex, end: Unfinished, field: SearchField | None) -> Iterator[Completion]:
    """Yield words of the index by frequency; if a field is given, those that occur in it."""
    written = words_in(end.text, PLAIN)
    if not written or written[-1].end < len(end.text) or len(written[-1].stem) < _SHORTEST:
        return
    translation = Translation(index, lambda state: index.library.states.overall({}, state))
    start = end.text_start + written[-1].start
    for word, count in index.searcher.terms_with_prefix("words", written[-1].stem, limit=_MOST_LOOKED_AT):
        frequency = translation.frequency(word, [field]) if field else count
        if frequency:
            yield Completion(word, "word", start, frequency)


def _counts(index: SearchIndex) -> Mapping[str, Mapping[str, int]]:
    at, counts = _counted.get(index, (0.0, {}))
    if not at or time.monotonic() - at > _COUNTED_EVERY_S:
        names = index.fields.facets
        asked = {name: {"terms": {"field": facet_path(name), "size": _MOST_VALUES}} for name in names}
        found = index.searcher.aggregate(Query.all_query(), asked)
        counts = {
            name: {unmarked(one["key"]): int(one["doc_count"]) for one in found[name]["buckets"]} for name in names
        }
        _counted[index] = (time.monotonic(), counts)
    return counts
