"""Keywords and key sentences of a text, taken from the text itself: quotes, not a paraphrase.

Keywords are the words, and pairs of adjacent words, that recur; function words do not count, so a language needs a list
of them. Key sentences are the most central ones by TextRank (Mihalcea & Tarau, 2004): sentences that share many words
with others. Chinese, Japanese and Korean have no word borders: there, pairs of adjacent characters are compared, and
there are no keywords.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from vidpipe.text.names import language_code
from vidpipe.text.words import normalize

_ENGLISH = (
    "a about after again all also am an and any are around as at back be because been before being but by can can't "
    "come could did didn't do does doesn't doing don't down each even every for from get go going gonna good got had "
    "has have having he he's her here him his how i i'd i'll i'm i've if in into is isn't it it's its just kind know "
    "let let's like look lot made make many may me more most much must my new no not now of off okay on one only or "
    "other our out over own people really right said same say see she should so some something still such take than "
    "thank that that's the their them then there there's these they they're thing things think this those through to "
    "too two up us use very want was way we we'll we're we've well were what what's when where which while who why "
    "will with would yeah yes you you're you've your"
)
_GERMAN = (
    "aber alle als also am an auch auf aus bei bin bis da das dass dem den der des die dir doch du durch ein eine "
    "einem einen einer eines er es für haben hat hier ich ihr im immer in ist ja jetzt kann kein keine man mehr mein "
    "mich mir mit nach nicht noch nun nur oder schon sehr sein sich sie sind so um und uns unser viel vom von vor war "
    "was wenn wer werden wie wieder wir wird wo zu zum zur über"
)
_FRENCH = (
    "alors au aussi aux avec avez bien c'est ce cela ces cette comme dans de des donc du elle elles en est et fait il "
    "ils j'ai je la le les leur lui là ma mais me mes moi mon même n'est ne non nos notre nous on ont ou où par pas "
    "plus pour qu'il que quel qui sa sans se ses si son sont sur ta tout toute tous très tu un une va vos votre vous y "
    "à ça était être"
)
_SPANISH = (
    "a al algo aquí así bien cada como con cual cuando de del desde donde dos el ella ellos en entre era es esa ese "
    "eso esta estamos este esto está están fue ha hace han hasta hay la las le les lo los me mi mis muy más no nos "
    "nosotros o para pero por porque puede pues que qué se ser si sin sobre son su sus sí también te tiene todo todos "
    "tu un una uno va vamos y ya yo"
)
_FUNCTION_WORDS = {
    code: frozenset(normalize(words).split())
    for code, words in {"eng": _ENGLISH, "deu": _GERMAN, "fra": _FRENCH, "spa": _SPANISH}.items()
}
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af]+")

#: Words from which a text has keywords, and sentences from which it has key sentences.
_MIN_WORDS, _MIN_SENTENCES = 30, 5
_MIN_OCCURRENCES, _MAX_KEYWORDS, _MIN_LETTERS = 2, 8, 3
#: Terms of a sentence that can stand alone, and characters that a quote may have.
_MIN_TERMS, _MAX_CHARACTERS = 3, 240
#: TextRank takes quadratic time; of longer texts every n-th sentence is compared.
_MAX_SENTENCES = 200
_DAMPING, _ITERATIONS = 0.85, 30


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
        ignored = _FUNCTION_WORDS.get(language_code(language))
        if ignored is None:
            continue
        found = normalize(sentence).split()
        words += len(found)
        kept = [_is_content(word) and word not in ignored for word in found]
        counts.update(word for word, counted in zip(found, kept, strict=True) if counted)
        pairs = zip(pairwise(found), pairwise(kept), strict=True)
        counts.update(" ".join(pair) for pair, counted in pairs if all(counted) and pair[0] != pair[1])
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


def key_sentences(sentences: Sequence[str], most: int = 2) -> list[str]:
    """Return the most central sentences, verbatim and in their order; none if there are few or they share no words."""
    distinct = [text for text in dict.fromkeys(sentences) if len(text) <= _MAX_CHARACTERS]
    step = math.ceil(len(distinct) / _MAX_SENTENCES) or 1
    compared = [(text, terms) for text in distinct[::step] if len(terms := _terms(text)) >= _MIN_TERMS]
    if len(compared) < _MIN_SENTENCES:
        return []
    links = [[_similarity(terms, other) for _, other in compared] for _, terms in compared]
    for index, row in enumerate(links):
        row[index] = 0.0
    totals = [sum(row) for row in links]
    scores = [1.0] * len(compared)
    for _ in range(_ITERATIONS):
        shares = [score / total if total else 0.0 for score, total in zip(scores, totals, strict=True)]
        scores = [
            1 - _DAMPING + _DAMPING * sum(share * link for share, link in zip(shares, row, strict=True))
            for row in links
        ]
    central = sorted((index for index, total in enumerate(totals) if total), key=lambda index: -round(scores[index], 6))
    return [compared[index][0] for index in sorted(central[:most])]


def _terms(text: str) -> frozenset[str]:
    """Return the words of a text that may be content, and its pairs of characters without word borders."""
    ignored = _FUNCTION_WORDS["eng"]
    words = {word for word in normalize(text).split() if _is_content(word) and word not in ignored}
    pairs = {first + second for run in _UNSPACED.findall(text) for first, second in pairwise(run)}
    return frozenset(words | pairs)


def _similarity(terms: frozenset[str], other: frozenset[str]) -> float:
    return len(terms & other) / (math.log(1 + len(terms)) + math.log(1 + len(other)))
