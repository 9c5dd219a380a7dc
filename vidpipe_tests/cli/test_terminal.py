"""What reaches a terminal steers nothing, and hides nothing."""

from __future__ import annotations

import io
import json

import pytest

from vidpipe.cli.output import EscapingWriter, clean
from vidpipe.errors import UNSAFE
from vidpipe.library.queries.json_encoding import to_json

UNSEEN = [
    "\x1b", "\x07", "\x7f", "\x9b", "\u061c", "\u180e", "\u200b", "\u200e", "\u2028", "\u202e", "\u2060", "\u2066",
    "\u206f", "\ufeff", "\ufff9", "\U000e0001", "\U000e0041", "\U000e007f", "\udce9", "\ud83d", "\U000e0100",
]  # fmt: skip


@pytest.mark.parametrize("character", UNSEEN, ids=ascii)
def test_what_steers_a_terminal_or_cannot_be_seen_is_written_out(character: str) -> None:
    assert clean(f"a{character}b").isprintable()
    plain = to_json(f"a{character}b").decode()
    assert plain.isascii()
    assert json.loads(plain) == f"a{character}b"


def test_words_of_all_languages_and_emoji_stay_as_they_are() -> None:
    for text in (
        "Müller – “é”", "می\u200cخواهم", "👨\u200d👩\u200d👧 ❤\ufe0f 1\ufe0f\u20e3", "葛\U000e0100", "क\u094d\u200dष",
    ):  # fmt: skip
        assert clean(text) == text
    assert clean("a\u200db \ufe0f\ufe0f") == "a\\u200db \ufe0f\\ufe0f"


def test_an_export_to_a_terminal_is_escaped_line_by_line() -> None:
    shown = io.BytesIO()
    EscapingWriter(shown).writelines(['"a\x1b[31m","\u061c\U000e0041"\n'.encode(), b"\r\x9b2J\n"])
    text = shown.getvalue().decode()
    assert text == '"a\\x1b[31m","\\u061c\\U000e0041"\n\\x0d\ufffd2J\n'
    assert not UNSAFE.search(text.replace("\n", ""))
