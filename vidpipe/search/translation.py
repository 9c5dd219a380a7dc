"""Parsed queries as tantivy's queries, over the documents of videos and over those of their moments."""

from collections.abc import Callable, Collection, Iterable, Sequence

from tantivy import DocAddress, FieldType, Occur, Query, Searcher

from vidpipe.library.states import VideoSet
from vidpipe.search.documents import (
    MOMENT,
    TIMED,
    VIDEO,
    id_head,
    marked,
    moment_path,
    number_path,
    term_path,
    text_path,
)
from vidpipe.search.index import SearchIndex
from vidpipe.search.query import And, Between, InState, Node, Not, Or, Term, Words, wanted
from vidpipe.stages.search_fields import SearchField
from vidpipe.text.stems import stems, tokens

#: `text_path` or `moment_path`.
PathOf = Callable[[str, str], str]
#: More than the weights of the fields in which a query's words can be.
_MUCH = 1e6


class Translation:
    """Translates for one state of an index. Only words give a score: BM25, times the weight of their field.

    Args:
        index: The index.
        in_state: Overall state -> the videos in it.

    Attributes:
        searcher: The state of the index.
        fields: The fields of the library.
    """

    def __init__(self, index: SearchIndex, in_state: Callable[[str], VideoSet]) -> None:
        self.searcher = index.searcher
        self._schema = index.schema
        self.fields = index.fields
        self._languages = index.languages
        self._in_state = in_state
        self._videos = _unscored(self._term("kind", VIDEO))

    def videos(self, node: Node, required: Iterable[Node] = (), *, with_moments: bool = False) -> Query:
        """Return the query for the videos that `node` and all of `required` describe, scored by the words of `node`.

        Args:
            node: What is searched for.
            required: Further conditions.
            with_moments: Only videos with moments that `moments` finds.
        """
        found = self._all(node.parts if isinstance(node, And) else (node,))
        clauses = [found, *(_unscored(self._translated(one)) for one in required)]
        if with_moments:
            words = self._any_word(node, text_path)
            clauses.append(_unscored(words or self._term("kind", TIMED)))
        return _must(clauses)

    def among(self, videos: Iterable[str]) -> Query:
        """Return the query for these videos."""
        return _unscored(Query.term_set_query(self._schema, "id_head", [id_head(sha256) for sha256 in videos]))

    def addresses(self, query: Query, videos: Collection[str]) -> dict[str, DocAddress]:
        """Return those of `videos` that `query` finds, with their documents."""
        if not videos:
            return {}
        found = self.searcher.search(_must([query, self.among(videos)]), len(videos), False)
        return {str(self.searcher.doc(address).get_first("video")): address for _, address in found.hits}

    def has_moments(self, node: Node) -> bool:
        """Return whether `node` has wanted words that moments may have."""
        return any(isinstance(word, Words) and self.fields_of(word, "moments") for word in wanted(node))

    def moments(self, node: Node, videos: Iterable[str], *, together: bool = False) -> Query:
        """Return the query for those moments of `videos` that contain a wanted word; all of them, if there is none.

        The score is the number of different words, and a little more in a field of more weight.

        Args:
            node: What is searched for. Of it, only the words that moments may have count.
            videos: The videos.
            together: A moment must have all the words that a video must have.
        """
        words = self._in_one_moment(node) if together else self._any_word(node, moment_path)
        of_videos = Query.term_set_query(self._schema, "video", list(videos))
        place = [_unscored(self._term("kind", MOMENT)), _unscored(of_videos)]
        return _must([*place, words] if words else place)

    def frequency(self, word: str, fields: Iterable[SearchField]) -> int:
        """Return in how many videos one of `fields` at most contains `word`, in any form."""
        return max((self.searcher.doc_freq(*term) for term in self._terms(word, fields)), default=0)

    def spelled_like(self, word: str, fields: Iterable[SearchField], path_of: PathOf, distance: int) -> Query:
        """Return the query for documents with a word in `fields` that is `word` but for at most `distance` letters."""
        terms = self._terms(word, fields, path_of)
        return _should([Query.fuzzy_term_query(self._schema, *term, distance) for term in terms])

    def fields_of(self, words: Words, kind: str = "") -> list[SearchField]:
        """Return the fields in whose texts `words` are searched; only those of this kind, if one is given."""
        named = (one for one in self.fields.texts.values() if (one.name == words.field if words.field else one.weight))
        return [one for one in named if kind in ("", one.kind)]

    def _translated(self, node: Node) -> Query:
        match node:
            case Words():
                found = ((self._in_field(node, one, text_path), one.weight) for one in self.fields_of(node))
                return _should([Query.boost_query(query, weight or 1.0) for query, weight in found])
            case Or(parts):
                return _should([self._translated(part) for part in dict.fromkeys(parts)])
            case And(parts):
                return self._all(parts)
            case Not():
                return self._all((node,))
            case _:
                return _unscored(self._condition(node))

    def _condition(self, node: Term | Between | InState) -> Query:
        if isinstance(node, Term):
            return self._term(term_path(node.field), marked(node.key))
        if isinstance(node, Between):
            bounds = (node.low, node.high, node.with_low, node.with_high)
            return Query.range_query(self._schema, number_path(node.field), FieldType.Float, *bounds)
        found = self._in_state(node.state)
        heads = self.among(found.ids)
        occur = Occur.MustNot if found.others else Occur.Must
        return Query.boolean_query([(Occur.Must, self._videos), (occur, heads)])

    def _all(self, parts: Iterable[Node]) -> Query:
        clauses = [(Occur.Must, self._videos)]
        for part in dict.fromkeys(parts):
            if isinstance(part, Not):
                clauses.append((Occur.MustNot, self._translated(part.part)))
            else:
                clauses.append((Occur.Must, self._translated(part)))
        return Query.boolean_query(clauses)

    def _any_word(self, node: Node, path_of: PathOf) -> Query | None:
        found = [
            Query.const_score_query(self._in_field(word, field, path_of), 1 + field.weight / _MUCH)
            for word in dict.fromkeys(wanted(node))
            if isinstance(word, Words)
            for field in self.fields_of(word, "moments")
        ]
        return _should(found) if found else None

    def _in_one_moment(self, node: Node) -> Query | None:
        if isinstance(node, And | Or):
            parts = [query for part in node.parts if (query := self._in_one_moment(part)) is not None]
            join = _must if isinstance(node, And) else _should
            return join(parts) if parts else None
        return self._any_word(node, moment_path)

    def _languages_of(self, field: str) -> list[str]:
        possible = self.fields.languages.get(field, ())
        return [language for language in self._languages if language in possible]

    def _in_field(self, words: Words, field: SearchField, path_of: PathOf) -> Query:
        return _should([self._in_text(words, field, language, path_of) for language in self._languages_of(field.name)])

    def _in_text(self, words: Words, field: SearchField, language: str, path_of: PathOf) -> Query:
        """Return the query for words in a row in one of the texts of `field` in `language`.

        The index has stems. `lighthouse*` finds the stem of "lighthouse" and the stems that begin with "lighthouse".
        """
        path, stemmed = path_of(field.name, language), stems(words.text, language)
        whole = self._phrase(path, stemmed)
        if not words.prefix:
            return whole
        *before, last = (*stemmed[:-1], tokens(words.text)[-1])
        continued = self._beginning_with(path, last)
        if before:
            # tantivy's own query takes the first 50 words that continue; of more, any place in the same field will do.
            # Whether there are more shows best in short texts, most of which have only one of them.
            short = (moment_path if field.kind == "moments" else text_path)(field.name, language)
            first_50 = Query.phrase_prefix_query(self._schema, short, [last])
            if count(self.searcher, first_50) == count(self.searcher, self._beginning_with(short, last)):
                continued = Query.phrase_prefix_query(self._schema, path, [*before, last])
            else:
                continued = _must([self._phrase(path, before), continued])
        return _should([whole, continued])

    def _beginning_with(self, path: str, word: str) -> Query:
        return Query.fuzzy_term_query(self._schema, path, word, 0, prefix=True)

    def _phrase(self, path: str, words: Sequence[str]) -> Query:
        if len(words) == 1:
            return self._term(path, words[0])
        return Query.phrase_query(self._schema, path, list(words))

    def _term(self, path: str, value: str) -> Query:
        return Query.term_query(self._schema, path, value)

    def _terms(self, word: str, fields: Iterable[SearchField], path_of: PathOf = text_path) -> list[tuple[str, str]]:
        """Return the path and the stem of a word in each field and language."""
        places = [(field.name, language) for field in fields for language in self._languages_of(field.name)]
        return [(path_of(*place), stem) for place in places for stem in stems(word, place[1])]


def count(searcher: Searcher, query: Query) -> int:
    """Return how many documents `query` finds."""
    return int(searcher.search(_unscored(query), 1).count)  # type: ignore[attr-defined]  # not in its stubs


def _unscored(query: Query) -> Query:
    return Query.const_score_query(query, 0.0)


def _must(queries: Iterable[Query]) -> Query:
    return Query.boolean_query([(Occur.Must, query) for query in queries])


def _should(queries: Iterable[Query]) -> Query:
    return Query.boolean_query([(Occur.Should, query) for query in queries])
