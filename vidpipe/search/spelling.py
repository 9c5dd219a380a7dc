"""Corrections of words that no text contains; they are offered, never applied."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher, get_close_matches
from operator import itemgetter

from tantivy import Document, Query

from vidpipe.library.library import Library
from vidpipe.search.documents import moment_of, moment_path, text_path
from vidpipe.search.hits import UNREAD
from vidpipe.search.matching import LONGEST_TEXT
from vidpipe.search.query import Node, Words, wanted
from vidpipe.search.translation import Translation
from vidpipe.stages.search_fields import SearchField
from vidpipe.text.stems import PLAIN, composed, words_in

#: Numbers of letters of the words that are corrected; in those with more than `_SHORT`, two may be wrong.
_CORRECTED = range(3, 31)
_SHORT = 5
#: Words of a query that are corrected.
_MOST_CORRECTED = 3
#: Videos, and moments, in whose texts similar words are looked for.
_MOST_READ = 20
#: Most similar words that are compared by how often they occur.
_MOST_SIMILAR = 5


def corrected(query: str, node: Node, library: Library, translation: Translation) -> str | None:
    """Return `query` with every word that no text contains replaced by the most similar one that some text does.

    Args:
        query: The query as written.
        node: As parsed.
        library: The library.
        translation: Tells what the index contains.

    Returns:
        The query, or None if there is nothing to replace.
    """
    unknown = [
        (words.start + word.start, words.start + word.end, word.stem, fields)
        for words in wanted(node)
        if isinstance(words, Words) and not words.prefix
        for fields in [translation.fields_of(words)]
        for word in words_in(query[words.start : words.end], PLAIN)
        if word.end - word.start in _CORRECTED and not translation.frequency(word.stem, fields)
    ]
    better = query
    for start, end, word, fields in sorted(unknown[:_MOST_CORRECTED], key=itemgetter(0), reverse=True):
        if known := _most_similar(word, fields, library, translation):
            better = better[:start] + known + better[end:]
    return better if better != query else None


def _most_similar(word: str, fields: Sequence[SearchField], library: Library, translation: Translation) -> str | None:
    """Return the word of `fields` that is spelled most like `word`; of equally similar ones the most frequent."""
    for wrong in (1,) if len(word) <= _SHORT else (1, 2):
        known = {
            found.stem: text[found.start : found.end].lower()
            for text in map(composed, _texts_with(word, wrong, fields, library, translation))
            for found in words_in(text, PLAIN)
            if found.stem != word
        }
        close = get_close_matches(word, known, _MOST_SIMILAR, (len(word) - wrong) / len(word))
        alike = {one: SequenceMatcher(None, one, word).ratio() for one in close}
        if alike:
            return known[max(alike, key=lambda one: (alike[one], translation.frequency(one, fields)))]
    return None


def _texts_with(
    word: str, wrong: int, fields: Sequence[SearchField], library: Library, translation: Translation
) -> Iterator[str]:
    """Yield some texts in `fields`, among them such with a word that differs from `word` in at most `wrong` letters."""
    moments = [field for field in fields if field.kind == "moments"]
    others = [field for field in fields if field not in moments]
    for found in _first(translation, translation.spelled_like(word, moments, moment_path, wrong)):
        yield moment_of(found)["text"]
    ids = [
        found.get_first("video")
        for found in _first(translation, translation.spelled_like(word, others, text_path, wrong))
    ]
    for document in library.collections["videos"].find({"_id": {"$in": ids}}, {**UNREAD, "stages": 0}):
        for field, values in translation.fields.values(document):
            if field.name in [other.name for other in others]:
                yield from (value[:LONGEST_TEXT] for value in values)


def _first(translation: Translation, query: Query) -> Iterator[Document]:
    for _, address in translation.searcher.search(query, _MOST_READ, False).hits:
        yield translation.searcher.doc(address)
