"""Keywords and key sentences of a text, taken from the text itself: quotes, not a paraphrase.

Keywords are the words, and pairs of adjacent words, that recur; function words do not count, so a language needs a list
of them (function_words.toml). Key sentences are the most central ones: those that share most words with the others
(degree centrality, as in LexRank by Erkan & Radev, 2004). Chinese, Japanese and Korean have no word borders: there,
pairs of adjacent characters are compared, and there are no keywords.
"""

import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

from vidpipe.text.names import language_code
from vidpipe.text.words import UNSPACED, normalize

_UNSPACED = re.compile(f"[{UNSPACED}]+")
#: Words from which a text has keywords, and sentences from which it has key sentences.
_MIN_WORDS, _MIN_SENTENCES = 30, 5
_MIN_OCCURRENCES, _MAX_KEYWORDS, _MIN_LETTERS = 2, 8, 3
#: Terms of a sentence that can stand alone, and characters that a quote may have.
_MIN_TERMS, _MAX_CHARACTERS = 3, 240
_MAX_SENTENCES_QUOTED = 2
#: Comparing takes quadratic time; of longer texts every n-th sentence is compared.
_MAX_SENTENCES = 200


@cache
def _function_words() -> dict[str, frozenset[str]]:
    listed = tomllib.loads(Path(__file__).with_name("function_words.toml").read_text(encoding="utf-8"))
    return {code: frozenset(normalize(words).split()) for code, words in listed.items()}


def keywords(sentences: Iterable[tuple[str, str]], title: str = "") -> tuple[str, ...]:
    """Return up to eight recurring words and pairs of words, in lower case, most frequent first.

    A sentence that is repeated counts once.

    Args:
        sentences: (sentence, language code). Those in languages without a list of function words have no keywords.
        title: Words that also occur in it count once more.
    """
    counts: Counter[str] = Counter()
    words = 0
    for sentence, language in dict.fromkeys(sentences):
        ignored = _function_words().get(language_code(language))
        if ignored is None:
            continue
        found = normalize(sentence).split()
        words += len(found)
        kept = [word if _is_content(word) and word not in ignored else "" for word in found]
        counts.update(filter(None, kept))
        counts.update(f"{first} {second}" for first, second in pairwise(kept) if first and second and first != second)
    if words < _MIN_WORDS:
        return ()
    counts.update(word for word in set(normalize(title).split()) if word in counts)
    recurring = {term: count for term, count in counts.items() if count >= _MIN_OCCURRENCES}
    for pair in [term for term in recurring if " " in term]:
        for word in pair.split():  # a word that occurs only in the pair adds nothing
            if recurring.get(word) == recurring[pair]:
                del recurring[word]
    # counts are in order of first occurrence, and sorting is stable
    ranked = sorted(recurring, key=lambda term: (-recurring[term], -term.count(" ")))
    return tuple(ranked[:_MAX_KEYWORDS])


def _is_content(word: str) -> bool:
    return len(word) >= _MIN_LETTERS and not word.isdigit() and not _UNSPACED.search(word)


def key_sentences(sentences: Sequence[str]) -> list[str]:
    """Return the two most central sentences, verbatim, in their order; none if there are few or they share no words."""
    distinct = [text for text in dict.fromkeys(sentences) if len(text) <= _MAX_CHARACTERS]
    step = math.ceil(len(distinct) / _MAX_SENTENCES) or 1
    compared = [(text, terms) for text in distinct[::step] if len(terms := _terms(text)) >= _MIN_TERMS]
    if len(compared) < _MIN_SENTENCES:
        return []
    scores = [sum(_similarity(terms, other) for _, other in compared if other is not terms) for _, terms in compared]
    central = sorted((index for index, score in enumerate(scores) if score), key=lambda index: -round(scores[index], 6))
    return [compared[index][0] for index in sorted(central[:_MAX_SENTENCES_QUOTED])]


def _terms(text: str) -> frozenset[str]:
    """Return the words of a text that may be content, and its pairs of characters without word borders."""
    words = {word for word in normalize(text).split() if _is_content(word)} - _function_words()["eng"]
    return frozenset(words | {first + second for run in _UNSPACED.findall(text) for first, second in pairwise(run)})


def _similarity(terms: frozenset[str], other: frozenset[str]) -> float:
    return len(terms & other) / (math.log(1 + len(terms)) + math.log(1 + len(other)))
