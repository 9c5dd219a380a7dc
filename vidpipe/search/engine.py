"""Answers queries: hits with the place that matches, facets, pages and corrections."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Literal

from tantivy import Query, Searcher

from vidpipe.errors import SettingsError, UnavailableError, VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.schema import Document
from vidpipe.search.documents import facet_path, unmarked
from vidpipe.search.grammar import LONGEST_QUERY, parse
from vidpipe.search.hits import Hits
from vidpipe.search.index import SearchIndex
from vidpipe.search.matching import Matcher
from vidpipe.search.pages import Cursor, Order, Row, page_of, ranked
from vidpipe.search.query import And, Node, Or, QueryError, Words, wanted
from vidpipe.search.saved import SavedSearches
from vidpipe.search.spelling import corrected
from vidpipe.search.translation import Translation, count
from vidpipe.search.vectors import Near, Vectors, without_words

#: Different values of a field that are counted.
_MOST_VALUES = 1000
#: Who asks for what is nearest gets what is less similar, too: down to this share of a field's `min_similarity`.
_LEAST_SHARE = 0.6


class NothingToCompare(UnavailableError):
    """There are no embeddings that a meaning could be compared with."""


@dataclass(frozen=True)
class SearchPage:
    """A page of hits.

    Attributes:
        hits: Of each video, or, if moments were asked for, of each moment: the video's `summary` with `score`; of its
            best match `matched_in`, `start_s`, `end_s`, `text` and `highlights`; and its best `matches`.
        facets: Field -> value -> number of videos with it, most frequent first.
        total: Number of videos found.
        next: What `after` takes for the next page; None: this is the last.
        matched: "any": no video has all words, these have at least one. "meaning": these are similar in meaning.
        did_you_mean: The query with misspelled words corrected; None: there is nothing to correct.
        notes: Sentences for the user.
    """

    hits: list[Document]
    facets: dict[str, dict[str, int]]
    total: int
    next: str | None
    matched: Literal["all", "any", "meaning"] = "all"
    did_you_mean: str | None = None
    notes: list[str] = field(default_factory=list)


#: How many videos there are, and how many with each value of each field.
_Counts = tuple[int, dict[str, dict[str, int]]]


class Engine:
    """Answers from an index as it is (catching up is the caller's); what it shows of a video is read from the library.

    Args:
        library: The library.
        specs: Today's spec of each stage that can run.
        index: The library's index.
    """

    def __init__(self, library: Library, specs: Mapping[str, str], index: SearchIndex) -> None:
        self._library = library
        self._specs = specs
        self._index = index
        self._vectors = Vectors(index)

    def find(
        self,
        query: str = "",
        filters: Sequence[str] = (),
        *,
        meaning: bool = False,
        like: str = "",
        order: Order = "relevance",
        limit: int = 20,
        after: str | None = None,
        offset: int = 0,
        moments: bool = False,
        facets: bool = True,
    ) -> SearchPage:
        """Return a page of what `query` and all `filters` find.

        If the words of `query` are found nowhere, and the order is by relevance, what is similar in meaning is found.

        Args:
            query: What is searched for; everything, if it is empty.
            filters: Further queries, which stay required where any word of `query` suffices.
            meaning: Find the videos nearest in meaning to the words of `query` without a field; all else is required.
            like: The sha256 of a video whose meaning is compared instead; it is not found itself.
            order: Of the videos. Without words, by date instead of relevance; by meaning, always relevance.
            limit: Most hits; 0 for all, which are in memory at once: pages of very many take less.
            after: `next` of the page before.
            offset: Videos to skip.
            moments: Hits are moments: of each video those that contain the words, by time; by meaning, the nearest one.
            facets: Whether values are counted.

        Raises:
            QueryError: A query is wrong.
            SettingsError: `after` is not from the same order, or there are no words whose meaning could be compared.
            UnavailableError: MongoDB is unavailable, or there is nothing to compare meanings with.
        """
        names = self._index.fields.facets if facets else ()
        matched: Literal["all", "any", "meaning"] = "all"
        # tantivy counts in another thread, outside Python's lock, while the page is made.
        with self._library.connection.errors_explained(), ThreadPoolExecutor(1) as pool:
            asked, required = self._all_parsed(query, filters)
            node = asked
            by_meaning = meaning or bool(like)
            if by_meaning:
                order = "relevance"
            elif order == "relevance" and not any(isinstance(word, Words) for word in wanted(node)):
                order = "date"
            cursor = Cursor.decoded(after, order) if after else Cursor(order)
            translation = self._translation()
            notes: list[str] = []
            near: dict[str, Near] = {}

            def found_by(node: Node) -> tuple[Future[_Counts], list[Row], bool]:
                query = translation.videos(node, required, with_moments=moments)
                counting = pool.submit(_counted, translation.searcher, query, names)
                return counting, *ranked(translation.searcher, query, cursor, offset, limit)

            if not by_meaning:
                counted, rows, more = found_by(node)
                loose = None if rows else _any_word(node)
                if loose and not counted.result()[0]:
                    node, matched = loose, "any"
                    counted, rows, more = found_by(node)
            if by_meaning or (order == "relevance" and not rows and not counted.result()[0]):
                near = self._near(asked, required, translation, notes, meaning=meaning, like=like, moments=moments)
                if near and not by_meaning:
                    notes.append("No video contains these words; these are similar in meaning.")
                if near or by_meaning:
                    matched = "meaning"
                    counted = pool.submit(_counted, translation.searcher, translation.among(near), names)
                    rows, more = page_of(((one.score, one.address) for one in near.values()), cursor, offset, limit)
            cursor = replace(cursor, position=cursor.position + offset)
            places = {sha256: one.place for sha256, one in near.items()}
            shown = Hits(self._library, self._specs, translation, node, scored=order == "relevance", nearest=places)
            hits, following = _shown(shown, rows, more, cursor, limit, moments=moments)
            better = None if after or by_meaning else corrected(query, node, self._library, translation)
            if better and not self._finds(better, required, translation):
                better = None
            total, counts = counted.result()
        notes += self._notes(And((node, *required)))
        return SearchPage(hits, counts, total, following, matched, better, notes)

    def _near(
        self,
        node: Node,
        required: Sequence[Node],
        translation: Translation,
        notes: list[str],
        *,
        meaning: bool,
        like: str,
        moments: bool,
    ) -> dict[str, Near]:
        """Return the videos nearest to one video, or to words; without `meaning`, only what is certainly similar."""
        if like:
            queries = self._vectors.embeddings_of(like, translation.searcher)
        else:
            queries = self._vectors.queries(node, only_meaning=meaning, notes=notes)
        if not queries and (meaning or like):
            raise self._nothing_to_compare(like)
        conditions = translation.videos(without_words(node), required)
        least = _LEAST_SHARE if meaning or like else 1.0
        return self._vectors.similar(queries, conditions, translation, parts=moments, least=least, without=like)

    def _nothing_to_compare(self, like: str) -> VidpipeError:
        if not self._index.fields.vectors:
            return NothingToCompare(
                "Meanings cannot be compared: the analysis meaning is not enabled.",
                "Add meaning to Enabled of [Analyses] in config.ini, then run `vidpipe run`.",
            )
        if like:
            problem = "Nothing is known of this video that could be compared: it has no words in it, or is still due."
            return NothingToCompare(problem, f"`vidpipe show {like[:12]}` shows what is known.")
        return SettingsError(
            "There are no words whose meaning could be compared.",
            'Write some: `vidpipe search --meaning "a dog runs"`.',
        )

    def ids(self, query: str = "", filters: Sequence[str] = (), *, stale: bool = False) -> list[str]:
        """Return the hashes of all videos that `query` and `filters` find, sorted.

        All words must match: what is done to a selection is not done to what is only similar, in words or in meaning.

        Args:
            query: What is searched for; everything, if it is empty.
            filters: Further queries that must hold.
            stale: Whether the index may lack changes: what is only shown may be out of date, what is acted on not.

        Raises:
            QueryError: A query is wrong.
            UnavailableError: MongoDB is unavailable, or the index lacks changes.
        """
        if self._index.behind and not stale:
            raise UnavailableError(
                f"The search index is missing the changes to {self._index.behind} videos, because another process is "
                "updating it.",
                "Run the command again as soon as it has finished.",
            )
        with self._library.connection.errors_explained():
            translation = self._translation()
            found = translation.videos(*self._all_parsed(query, filters))
        searcher = translation.searcher
        addresses = [address for _, address in searcher.search(found, max(1, count(searcher, found)), False).hits]
        addresses.sort(key=lambda address: (address.segment_ord, address.doc))  # neighbours are compressed together
        return sorted(str(searcher.doc(address).get_first("video")) for address in addresses)

    def _all_parsed(self, query: str, filters: Sequence[str]) -> tuple[Node, list[Node]]:
        if len(query) + sum(map(len, filters)) > LONGEST_QUERY:  # what many of them cost together is bounded, too
            problem = f"The query and its filters have more than {LONGEST_QUERY:,} characters."
            raise QueryError(problem, "Use fewer filters.", query, len(query))
        return self._parsed(query), [self._parsed(one) for one in filters]

    def matcher(self, query: str) -> Matcher:
        """Return what finds the words of `query` in texts. Raises QueryError."""
        return Matcher(wanted(self._parsed(query)))

    def _parsed(self, query: str) -> Node:
        return parse(query, self._index.fields, SavedSearches(self._library.collections))

    def _translation(self) -> Translation:
        return Translation(self._index, cache(partial(self._library.states.overall, self._specs)))

    def _finds(self, query: str, required: Sequence[Node], translation: Translation) -> bool:
        """Return whether `query` finds anything, if only by one of its words."""
        with suppress(QueryError):  # a corrected word may be the name of a field
            node = self._parsed(query)
            found = (translation.videos(one, required) for one in (node, _any_word(node)) if one)
            return any(count(translation.searcher, one) for one in found)
        return False

    def _notes(self, node: Node) -> list[str]:
        named = {word.field for word in wanted(node)}
        return [
            f"The analysis {analysis}, which fills `{name}:`, is not enabled."
            for name, analysis in sorted(self._index.fields.unfilled.items())
            if name in named
        ]


def _shown(
    shown: Hits, rows: Sequence[Row], more: bool, cursor: Cursor, limit: int, *, moments: bool
) -> tuple[list[Document], str | None]:
    """Return the hits of a page that begins at `cursor`, and what the next one begins at."""
    if moments:
        hits, end, complete = shown.moments(rows, cursor, limit)
    else:
        hits, complete = list(shown.videos(rows)), True
        end = cursor.after(rows[-1], len(rows)) if rows else cursor
    return hits, end.encoded() if more or not complete else None


def _counted(searcher: Searcher, query: Query, fields: Sequence[str]) -> _Counts:
    counts = {name: {"terms": {"field": facet_path(name), "size": _MOST_VALUES}} for name in fields}
    counted = searcher.aggregate(query, {**counts, "*": {"value_count": {"field": "id_head"}}})
    facets = {}
    for name in fields:
        found = {unmarked(bucket["key"]): int(bucket["doc_count"]) for bucket in counted[name]["buckets"]}
        facets[name] = dict(sorted(found.items(), key=lambda value: (-value[1], value[0])))
    return int(counted["*"]["value"]), facets


def _any_word(node: Node) -> Node | None:
    """Return what is found if any of the words of a query suffices; None: it has no more than one."""
    parts = node.parts if isinstance(node, And) else ()
    words = tuple(part for part in parts if isinstance(part, Words) and not part.field)
    return And((Or(words), *(part for part in parts if part not in words))) if len(words) > 1 else None
