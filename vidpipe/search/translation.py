"""Parsed queries as tantivy's queries, over the documents of videos and over those of their moments."""

from collections.abc import Callable, Collection, Iterable, Sequence

from tantivy import DocAddress, FieldType, Occur, Query, Searcher

from vidpipe.library.states import VideoSet
from vidpipe.search.analysis import stems, tokens
from vidpipe.search.documents import MOMENT, VIDEO, id_head, marked, moment_path, number_path, term_path, text_path
from vidpipe.search.index import SearchIndex
from vidpipe.search.query import And, Between, InState, Node, Not, Or, Term, Words, wanted
from vidpipe.stages.search_fields import SearchField

#: Counts the videos that a query finds.
COUNT = {"*": {"value_count": {"field": "id_head"}}}


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

    def videos(self, node: Node, *, moments: Node | None = None) -> Query:
        """Return the query for the videos that `node` describes; of them, those with a word of `moments` in one."""
        found = self._all(node.parts if isinstance(node, And) else (node,))
        words = self._any_word(moments, text_path) if moments else None
        return _must([found, _unscored(words)]) if words else found

    def among(self, videos: Iterable[str]) -> Query:
        """Return the query for these videos."""
        return _unscored(Query.term_set_query(self._schema, "id_head", [id_head(sha256) for sha256 in videos]))

    def addresses(self, query: Query, videos: Collection[str]) -> dict[str, DocAddress]:
        """Return those of `videos` that `query` finds, with their documents."""
        if not videos:
            return {}
        found = self.searcher.search(_must([query, self.among(videos)]), len(videos), False)
        return {str(self.searcher.doc(address).get_first("video")): address for _, address in found.hits}

    def either(self, query: Query, videos: Collection[str]) -> Query:
        """Return the query for what `query` finds and for these videos."""
        return _should([query, self.among(videos)]) if videos else query

    def has_moments(self, node: Node) -> bool:
        """Return whether `node` has wanted words that moments may have."""
        return any(isinstance(word, Words) and self._fields_of(word, "moments") for word in wanted(node))

    def moments(self, node: Node, videos: Iterable[str], *, together: bool = False) -> Query:
        """Return the query for those moments of `videos` that contain a wanted word; all of them, if there is none.

        Args:
            node: What is searched for. Of it, only the words that moments may have count.
            videos: The videos.
            together: A moment must have all the words that a video must have.
        """
        words = self._in_one_moment(node) if together else self._any_word(node, moment_path)
        of_videos = Query.term_set_query(self._schema, "video", list(videos))
        place = [_unscored(self._term("kind", MOMENT)), _unscored(of_videos)]
        return _must([*place, words] if words else place)

    def frequency(self, word: str) -> int:
        """Return in how many videos a field at most contains `word`, in any form."""
        return max((self.searcher.doc_freq(*term) for term in self._terms(word)), default=0)

    def spelled_like(self, word: str, distance: int) -> Query:
        """Return the query for videos with a word that differs from `word` in at most `distance` letters."""
        return _should([Query.fuzzy_term_query(self._schema, *term, distance) for term in self._terms(word)])

    def _translated(self, node: Node) -> Query:
        match node:
            case Words():
                return self._words(node, self._fields_of(node), text_path)
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

    def _any_word(self, node: Node, path_of: Callable[[str, str], str]) -> Query | None:
        words = [word for word in wanted(node) if isinstance(word, Words) and self._fields_of(word, "moments")]
        found = [self._words(word, self._fields_of(word, "moments"), path_of) for word in words]
        return _should(found) if found else None

    def _in_one_moment(self, node: Node) -> Query | None:
        if isinstance(node, And | Or):
            parts = [query for part in node.parts if (query := self._in_one_moment(part)) is not None]
            join = _must if isinstance(node, And) else _should
            return join(parts) if parts else None
        return self._any_word(node, moment_path)

    def _fields_of(self, words: Words, kind: str = "") -> list[SearchField]:
        named = (one for one in self.fields.texts.values() if (one.name == words.field if words.field else one.weight))
        return [one for one in named if kind in ("", one.kind)]

    def _languages_of(self, field: str) -> list[str]:
        possible = self.fields.languages.get(field, ())
        return [language for language in self._languages if language in possible]

    def _words(self, words: Words, fields: Sequence[SearchField], path_of: Callable[[str, str], str]) -> Query:
        found = []
        for field in fields:
            paths = ((path_of(field.name, language), language) for language in self._languages_of(field.name))
            texts = [self._in_text(words, *path) for path in paths]
            found.append(Query.boost_query(_should(texts), field.weight or 1.0))
        return _should(found)

    def _in_text(self, words: Words, path: str, language: str) -> Query:
        """Return the query for words in a row in one of the texts of `path`.

        The index has stems. `lighthouse*` finds the stem of "lighthouse" and the stems that begin with "lighthouse".
        """
        stemmed = stems(words.text, language)
        whole = self._phrase(path, stemmed)
        if not words.prefix:
            return whole
        *before, last = (*stemmed[:-1], tokens(words.text)[-1])
        continued = Query.fuzzy_term_query(self._schema, path, last, 0, prefix=True)
        if before:
            # tantivy's own query takes the first 50 words that continue; of more, any place in the same field will do.
            first_50 = Query.phrase_prefix_query(self._schema, path, [last])
            if count(self.searcher, first_50) == count(self.searcher, continued):
                continued = Query.phrase_prefix_query(self._schema, path, [*before, last])
            else:
                continued = _must([self._phrase(path, before), continued])
        return _should([whole, continued])

    def _phrase(self, path: str, words: Sequence[str]) -> Query:
        if len(words) == 1:
            return self._term(path, words[0])
        return Query.phrase_query(self._schema, path, list(words))

    def _term(self, path: str, value: str) -> Query:
        return Query.term_query(self._schema, path, value)

    def _terms(self, word: str) -> list[tuple[str, str]]:
        """Return the path and the stem of a word in each field and language."""
        places = [(field, language) for field in self.fields.texts for language in self._languages_of(field)]
        return [(text_path(*place), stem) for place in places for stem in stems(word, place[1])]


def count(searcher: Searcher, query: Query) -> int:
    """Return how many videos `query` finds."""
    return int(searcher.aggregate(query, COUNT)["*"]["value"])


def _unscored(query: Query) -> Query:
    return Query.const_score_query(query, 0.0)


def _must(queries: Iterable[Query]) -> Query:
    return Query.boolean_query([(Occur.Must, query) for query in queries])


def _should(queries: Iterable[Query]) -> Query:
    return Query.boolean_query([(Occur.Should, query) for query in queries])
