"""What `redact` masks, and that hostile text cannot make it slow."""

from __future__ import annotations

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
    ],
)
def test_passwords_keys_and_tokens_are_masked_and_nothing_else(text: str, safe: str) -> None:
    assert redact(text) == safe
    assert str(VidpipeError(text, text)) == f"{safe} {safe}"


@pytest.mark.parametrize("unit", ["x", "a://b:c", "a://b:c@", "token=", "://:@", "a-", "token=:"])
def test_hostile_text_takes_no_longer_than_other_text(unit: str) -> None:
    redact(unit * (200_000 // len(unit)))
