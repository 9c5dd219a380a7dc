"""Corrections of words that no text contains; they are offered, never applied."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher, get_close_matches
from operator import itemgetter

from tantivy import Query

from vidpipe.library.library import Library
from vidpipe.search.analysis import PLAIN, composed, words_in
from vidpipe.search.matching import LONGEST_TEXT
from vidpipe.search.query import Node, Words, wanted
from vidpipe.search.translation import Translation
from vidpipe.stages.search_fields import Moment, SearchField

#: Numbers of letters of the words that are corrected; in those with more than `_SHORT`, two may be wrong.
_CORRECTED = range(3, 31)
_SHORT = 5
#: Words of a query that are corrected.
_MOST_CORRECTED = 3
#: Videos in whose texts similar words are looked for.
_MOST_READ = 10
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
    wrong = 1 if len(word) <= _SHORT else 2
    similar = translation.spelled_like(word, fields, wrong)
    known = {
        folded: text
        for folded, text in _words(similar, fields, library, translation)
        if folded != word and abs(len(folded) - len(word)) <= wrong
    }
    alike = {one: SequenceMatcher(None, one, word).ratio() for one in get_close_matches(word, known, _MOST_SIMILAR)}
    best = max(alike, key=lambda one: (alike[one], translation.frequency(one, fields)), default=None)
    return known[best] if best else None


def _words(
    videos: Query, fields: Sequence[SearchField], library: Library, translation: Translation
) -> Iterator[tuple[str, str]]:
    """Yield the words, folded and as written, of the texts in `fields` of a few of `videos`."""
    searcher, names = translation.searcher, {field.name for field in fields}
    hits = searcher.search(videos, _MOST_READ, False).hits
    ids = [str(searcher.doc(address).get_first("video")) for _, address in hits]
    scenes = library.videos.scenes(ids)
    for document in library.collections["videos"].find({"_id": {"$in": ids}}):
        for field, values in translation.fields.values(document, scenes.get(document["_id"], ())):
            for value in values if field.name in names else ():
                text = composed((value.text if isinstance(value, Moment) else value)[:LONGEST_TEXT])
                for known in words_in(text, PLAIN):
                    yield known.stem, text[known.start : known.end].lower()
