"""Corrections of words that no text contains; they are offered, never applied."""

from collections.abc import Iterator
from difflib import SequenceMatcher, get_close_matches

from vidpipe.library.library import Library
from vidpipe.search.analysis import PLAIN, composed, words_in
from vidpipe.search.matching import LONGEST_TEXT
from vidpipe.search.query import Node, Words, wanted
from vidpipe.search.translation import Translation
from vidpipe.stages.search_fields import Moment

#: Numbers of letters of the words that are corrected; in those with more than `_SHORT`, two may be wrong.
_CORRECTED = range(3, 31)
_SHORT = 5
#: Words of a query that are corrected.
_MOST_CORRECTED = 3
#: Videos in whose texts similar words are looked for.
_MOST_READ = 10
#: Most similar words that are compared by how often they occur.
_MOST_SIMILAR = 5
_MIN_RATIO = 0.6


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
        (words.start + word.start, words.start + word.end, word.stem)
        for words in sorted(
            {one for one in wanted(node) if isinstance(one, Words) and not one.prefix}, key=lambda one: one.start
        )
        for word in words_in(query[words.start : words.end], PLAIN)
        if word.end - word.start in _CORRECTED and not translation.frequency(word.stem)
    ]
    better = query
    for start, end, word in reversed(unknown[:_MOST_CORRECTED]):
        if known := _most_similar(word, library, translation):
            better = better[:start] + known + better[end:]
    return better if better != query else None


def _most_similar(word: str, library: Library, translation: Translation) -> str | None:
    """Return the word of a text that is spelled most like `word`; of equally similar ones the most frequent."""
    wrong = 1 if len(word) <= _SHORT else 2
    known = {folded: written for folded, written in _words(library, translation, word, wrong) if folded != word}
    close = get_close_matches(word, known, _MOST_SIMILAR, _MIN_RATIO)
    alike = {one: (SequenceMatcher(None, one, word).ratio(), translation.frequency(one)) for one in close}
    return known[max(alike, key=lambda one: alike[one])] if alike else None


def _words(library: Library, translation: Translation, word: str, wrong: int) -> Iterator[tuple[str, str]]:
    """Yield the words, folded and as written, of texts with one that differs from `word` in up to `wrong` letters."""
    searcher, fields = translation.searcher, translation.fields
    hits = searcher.search(translation.spelled_like(word, wrong), _MOST_READ, False).hits
    ids = [str(searcher.doc(address).get_first("video")) for _, address in hits]
    scenes = library.videos.scenes(ids)
    for document in library.collections["videos"].find({"_id": {"$in": ids}}):
        for field, values in fields.values(document, scenes.get(document["_id"], ())):
            for value in values if field.name in fields.texts else ():
                text = composed((value.text if isinstance(value, Moment) else value)[:LONGEST_TEXT])
                for known in words_in(text, PLAIN):
                    if abs(len(known.stem) - len(word)) <= wrong:
                        yield known.stem, text[known.start : known.end].lower()
