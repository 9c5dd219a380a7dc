"""Language codes and names: ISO 639-1, ISO 639-2 (both variants) and English."""

from __future__ import annotations

import re

#: ISO 639-2/T code -> English name and the other codes (639-1, 639-2/B).
_LANGUAGES = {
    "ara": ("Arabic", "ar"), "ces": ("Czech", "cs", "cze"), "dan": ("Danish", "da"), "deu": ("German", "de", "ger"),
    "ell": ("Greek", "el", "gre"), "eng": ("English", "en"), "fas": ("Persian", "fa", "per"), "fin": ("Finnish", "fi"),
    "fra": ("French", "fr", "fre"), "heb": ("Hebrew", "he"), "hin": ("Hindi", "hi"), "hun": ("Hungarian", "hu"),
    "ind": ("Indonesian", "id"), "ita": ("Italian", "it"), "jpn": ("Japanese", "ja"), "kor": ("Korean", "ko"),
    "nld": ("Dutch", "nl", "dut"), "nor": ("Norwegian", "no"), "pol": ("Polish", "pl"), "por": ("Portuguese", "pt"),
    "ron": ("Romanian", "ro", "rum"), "rus": ("Russian", "ru"), "spa": ("Spanish", "es"), "swe": ("Swedish", "sv"),
    "tha": ("Thai", "th"), "tur": ("Turkish", "tr"), "ukr": ("Ukrainian", "uk"), "vie": ("Vietnamese", "vi"),
    "zho": ("Chinese", "zh", "chi"),
}  # fmt: skip

#: What containers write for an unspecified language.
UNKNOWN_LANGUAGES = frozenset({"", "und", "unknown", "mis", "zxx"})

_CODES = {other: code for code, (_, *others) in _LANGUAGES.items() for other in (code, *others)}
_CODES_AND_NAMES = _CODES | {name.lower(): code for code, (name, *_) in _LANGUAGES.items()}


def language_code(name: str) -> str:
    """Return the ISO 639-2/T code of a common language: `en`, `en-US` and `English` are `eng`.

    Any other language comes back in lower case, without its region.
    """
    lowered = " ".join(name.lower().split())
    primary = re.split(r"[-_]", lowered)[0]
    return _CODES_AND_NAMES.get(lowered) or _CODES_AND_NAMES.get(primary, primary)


def language_name(code: str) -> str:
    """Return the English name of a common language, or `code` itself."""
    known = _CODES.get(code.lower().partition("-")[0])
    return _LANGUAGES[known][0] if known else code
