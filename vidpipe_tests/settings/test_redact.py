"""What `redact` masks, and that hostile text cannot make it slow."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from vidpipe.errors import VidpipeError
from vidpipe.redaction import redact


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("mongodb://ann:p%40ss@db.lan/x", "mongodb://ann:***@db.lan/x"),
        ("mongodb://ann:p@ss@db.lan/x", "mongodb://ann:***@db.lan/x"),
        ("https://h.example:8080/a@b.mp4", "https://h.example:8080/a@b.mp4"),
        ("https://h/?X-Amz-Signature=abc&part=2", "https://h/?X-Amz-Signature=***&part=2"),
        ("https://h/a#access_token=abc&x=1", "https://h/a#access_token=***&x=1"),
        ("client_secret=abc refresh-token=def", "client_secret=*** refresh-token=***"),
        ("https://h/a?token=abc: not found", "https://h/a?token=***: not found"),
        ("design=round, assigned=2", "design=round, assigned=2"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
        ("https://h/a?session=abc&part=2 and /a?x=1", "https://h/a?session=***&part=2 and /a?x=1"),
    ],
)
def test_passwords_keys_and_tokens_are_masked_and_nothing_else(text: str, safe: str) -> None:
    assert redact(text) == safe
    assert str(VidpipeError(text, text)) == f"{safe} {safe}"


@pytest.mark.parametrize("unit", ["x", "a://b:c", "a://b:c@", "token=", "://:@", "a-", "token=:"])
def test_hostile_text_takes_no_longer_than_other_text(unit: str) -> None:
    redact(unit * (200_000 // len(unit)))


@pytest.mark.parametrize("secret", ["s3cr3t-Pass", "p@ss wörd/€&<\"'"])
@pytest.mark.parametrize(
    "encode",
    [
        str, quote, quote_plus, html.escape, json.dumps, ascii, str.lower,
        lambda text: quote(quote(text, safe="")),
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
        lambda text: text.encode().decode("latin-1"),
    ],
)  # fmt: skip
def test_a_secret_of_a_source_is_masked_in_every_spelling(
    secret: str, encode: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPIPE_SOURCE_X", secret)
    assert str(VidpipeError(f"a {encode(secret)} b")).replace('"', "").replace("'", "") == "a *** b"


@pytest.mark.parametrize("user", ["", "u", "us", "usr"])
def test_a_secret_is_masked_within_base64(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPIPE_SOURCE_X", "s3cr3t-Pass")
    encoded = base64.b64encode(f"{user}:s3cr3t-Pass".encode()).decode()
    before, masked, after = redact(encoded).partition("***")
    assert masked
    assert len(before) + len(after) <= 10


def test_a_short_secret_is_masked_as_a_word_and_spoils_no_other_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPIPE_SOURCE_X", "a1c")
    monkeypatch.setenv("VIDPIPE_SOURCE_Y", "a")
    assert redact("a ca1b a1c /a1c?x=a1c a1cd") == "a ca1b *** /***?x=*** a1cd"


@pytest.mark.parametrize("secret", ["video", "1234"])
def test_a_secret_that_is_an_ordinary_word_or_number_is_masked_in_urls_only(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPIPE_SOURCE_X", secret)
    text = f"The {secret} of /srv/{secret}/a.mp4 or file:///{secret}, {secret}s, size={secret}"
    address = f"http://h/{secret}/{secret}s?x={secret}), a.mp4?n={secret}"
    assert redact(f"{text}: ({address}") == f"{text}: (http://h/***/{secret}s?x=***), a.mp4?n=***"
