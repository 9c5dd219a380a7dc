"""How texts become words: case and accents are ignored, words are reduced to stems by the rules of their language.

A character of a script written without spaces counts as a word, so that a phrase finds any sequence of them.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from typing import Literal, NamedTuple

import pycld2
from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

from vidpipe.text import names

#: ISO 639-2 code -> tantivy's stemmer.
STEMMERS = {
    "ara": "arabic", "dan": "danish", "nld": "dutch", "eng": "english", "fin": "finnish", "fra": "french",
    "deu": "german", "ell": "greek", "hun": "hungarian", "ita": "italian", "nor": "norwegian", "por": "portuguese",
    "ron": "romanian", "rus": "russian", "spa": "spanish", "swe": "swedish", "tam": "tamil", "tur": "turkish",
}  # fmt: skip
#: The language of texts without a stemmer.
PLAIN = "plain"
LANGUAGES = (*STEMMERS, PLAIN)

# Thai, Lao, Myanmar, Khmer, Hiragana, Katakana, Chinese characters, Hangul.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
# Vowel signs of Indic scripts, which are no letters to `re`, but parts of words. The blocks without the two full stops.
_INDIC = "\u0900-\u0963\u0966-\u0dff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:[{_INDIC}]+[^\W_{_UNSPACED}]*)*")
#: Classes of combining marks that are no accents, but make other letters: nukta, voicing of Kana, virama, Thai and Lao
#: vowels and tones.
_LETTER_MARKS = (7, 8, 9, 103, 107, 118, 122)
#: Composing takes quadratic time in the number of combining marks, and untrusted text may hold nothing else.
_PIECE = re.compile(r"(?s:.){1,250}\S{0,250}")
_LONGEST_WORD = 200
_DETECTED_CHARACTERS = 400
_MOST_STEMS = 200_000


class Word(NamedTuple):
    """A word of a text: where it is, and what is compared."""

    start: int
    end: int
    stem: str


class _Folded(dict[int, str]):
    """Character -> itself in lower case without accents, computed on first use."""

    def __missing__(self, code: int) -> str:
        parts = unicodedata.normalize("NFKD", chr(code))
        bare = "".join(part for part in parts if unicodedata.combining(part) in (0, *_LETTER_MARKS))
        self[code] = folded = unicodedata.normalize("NFC", bare).casefold()
        return folded


# The Russian short i is a letter that endings have, by which words are reduced to stems.
_FOLDED = _Folded({ord("\u0439"): "\u0439", ord("\u0419"): "\u0439"})


def composed(text: str, form: Literal["NFC", "NFKC"] = "NFC") -> str:
    """Return `text` with letters and accents joined; the positions of `words_in` refer to NFC."""
    if text.isascii():
        return text
    return "".join(unicodedata.normalize(form, piece) for piece in _PIECE.findall(text))


def folded(text: str) -> str:
    """Return `text` in lower case without accents."""
    return text.lower() if text.isascii() else composed(text).translate(_FOLDED)


def tokens(text: str) -> list[str]:
    """Return the words of `text`, folded but not stemmed."""
    return [word[:_LONGEST_WORD] for word in _WORD.findall(folded(text))]


@lru_cache(100_000)  # rules have many words
def stems(text: str, language: str) -> tuple[str, ...]:
    """Return the stems of the words of `text`, part of a query or rule, as the index has them."""
    return tuple(analyzer(language).analyze(" ".join(tokens(text))))


def stem_words(words: Iterable[str], language: str) -> list[str]:
    """Return the stem of each of `tokens`; words recur, so each is reduced once."""
    known = _stemmed[language]
    return [known[word] for word in words]


class _Stems(dict[str, str]):
    """Word -> its stem, computed on first use."""

    def __init__(self, language: str) -> None:
        self._analyzer = analyzer(language)

    def __missing__(self, word: str) -> str:
        if len(self) > _MOST_STEMS:  # texts are hostile
            self.clear()
        self[word] = found = self._analyzer.analyze(word)[0]
        return found


class _StemsByLanguage(dict[str, _Stems]):
    def __missing__(self, language: str) -> _Stems:
        self[language] = found = _Stems(language)
        return found


_stemmed = _StemsByLanguage()


def words_in(text: str, language: str, is_sought: Callable[[str], bool] = bool) -> list[Word]:
    """Return the words of `text`, which must be `composed`, with their places; none, if the stem of none is sought."""
    places: Sequence[int] = range(len(text))
    bare = text.lower()
    if not text.isascii():
        parts = [_FOLDED[ord(character)] for character in text]
        places = [place for place, part in enumerate(parts) for _ in part]
        bare = "".join(parts)
    found = list(_WORD.finditer(bare))
    stemmed = analyzer(language).analyze(" ".join(match[0][:_LONGEST_WORD] for match in found))
    if not any(map(is_sought, stemmed)):  # as mostly; the rest takes longer
        return []
    return [
        Word(places[match.start()], places[match.end() - 1] + 1, stem)
        for match, stem in zip(found, stemmed, strict=True)
    ]


@cache
def analyzer(language: str) -> TextAnalyzer:
    """Return what reduces folded words, separated by spaces, to stems: one of `LANGUAGES`."""
    builder = TextAnalyzerBuilder(Tokenizer.whitespace())
    return (builder.filter(Filter.stemmer(STEMMERS[language])) if language in STEMMERS else builder).build()


def language_of(texts: Iterable[str], stated: str = "") -> str:
    """Return the language of `texts`, one of `LANGUAGES`: the stated one (code or name) if known, else detected."""
    code = names.language_code(stated)
    if code not in names.UNKNOWN_LANGUAGES:
        return code if code in STEMMERS else PLAIN
    sample = " ".join(texts)[:_DETECTED_CHARACTERS]
    try:
        _, _, guesses = pycld2.detect(sample.encode("utf-8", "replace"), bestEffort=True)
    except pycld2.error:  # a control character, for instance
        return PLAIN
    code = names.language_code(guesses[0][1])
    return code if code in STEMMERS else PLAIN
