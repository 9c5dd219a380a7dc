"""Waiting times and names that servers give."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidpipe.network.retry import parse_retry_after
from vidpipe.sources.download import pause_s
from vidpipe.sources.urls import redacted_url, safe_file_name, scrub, secrets_of, url_file_name

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("inf", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(tries=st.integers(1, 200), backoff=st.floats(0, 600), longest=st.floats(0, 1000))
def test_a_pause_is_never_longer_than_allowed_and_grows_with_the_tries(
    tries: int, backoff: float, longest: float
) -> None:
    assert 0 <= pause_s(tries, backoff, longest, None) <= min(longest, backoff * 2.0 ** (tries - 1))


@given(asked=st.floats(0, 100), longest=st.floats(100, 1000))
def test_a_pause_is_never_shorter_than_the_server_asks(asked: float, longest: float) -> None:
    assert pause_s(1, 1.0, longest, asked) >= asked


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
