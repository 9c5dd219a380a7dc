"""File names that servers give, and URLs without secrets."""

from __future__ import annotations

import pytest

from vidpipe.sources.urls import redacted_url, safe_file_name, scrub, secrets_of, url_file_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\a.mp4", "a.mp4"),
        ("a\0b\nc.mp4", "abc.mp4"),
        ("..", ""),
        ("x" * 300 + ".mp4", "x" * 196 + ".mp4"),
    ],
)
def test_names_from_servers_are_plain_file_names(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/b%20c.mp4?x=1", "b c.mp4"),
        ("https://h/get?file=movie.mkv&token=abc.mp4", "movie.mkv"),
        ("https://h/watch", "watch"),
        ("https://h/", "h"),
        ("https://h/a%2F..%2Fx.mp4", "x.mp4"),
    ],
)
def test_the_name_in_a_url(url: str, name: str) -> None:
    assert url_file_name(url) == name


def test_every_secret_of_a_url_is_masked_whatever_text_it_comes_back_in() -> None:
    url = "https://me:p%40ss%20word@h/x.mp4?id=3&sig=AbC%2Bd&Key-Pair-Id=K1234;auth=zzz"
    assert redacted_url(url) == "https://***@h/x.mp4?id=3&sig=***&Key-Pair-Id=***;auth=***"
    assert redacted_url("https://h/x.mp4#access_token=abc&t=3") == "https://h/x.mp4#access_token=***&t=3"
    assert "abc" in secrets_of("https://h/x.mp4#access_token=abc&t=3")
    assert {"me", "p@ss word", "AbC+d", "K1234", "zzz"} <= set(secrets_of(url))
    assert "p@ss" not in scrub("the login me:p@ss word with AbC+d and AbC%2Bd failed", url)
    assert "AbC" not in scrub("the login me:p@ss word with AbC+d and AbC%2Bd failed", url)
