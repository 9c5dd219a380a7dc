"""The language of a text."""

import pycld2

_LONGEST_BYTES = 20_000


def detected_language(text: str) -> str:
    """Return the ISO 639-1 code of the language that most of a text is in, "" if that is uncertain."""
    sample = text.encode("utf-8", "replace")[:_LONGEST_BYTES].decode("utf-8", "ignore")
    try:
        reliable, _, ((_, code, *_), *_) = pycld2.detect("".join(one if one.isprintable() else " " for one in sample))
    except pycld2.error:
        return ""
    return str(code).partition("-")[0] if reliable and code != "un" else ""
