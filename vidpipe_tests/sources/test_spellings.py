"""URLs as they are shown, matched and looked up: decoded and percent-encoded are the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidpipe.sources.source_request import request_for
from vidpipe.sources.urls import readable_url, stored_spellings, url_spellings


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("file:///home/me/My%20Cats/a.mp4", "/home/me/My Cats/a.mp4"),
        ("file:///srv/%E7%8C%AB/100%25%20%23%3F.mp4", "/srv/猫/100% #?.mp4"),
        ("file:///srv/caf%E9.mp4", r"/srv/caf\xe9.mp4"),
        ("file:///srv/%1B%5B2J%0A%E2%80%AEgpj.mp4", r"/srv/\x1b[2J\n\u202egpj.mp4"),
        ("file:///srv/%F0%9F%91%A9%E2%80%8D%F0%9F%9A%80%E3%80%80.mp4", "/srv/\U0001f469\u200d\U0001f680\u3000.mp4"),
        ("https://h.example/My%20Cats/a.mp4", "https://h.example/My%20Cats/a.mp4"),
        ("s3://films/My Cats%20.mp4", "s3://films/My Cats%20.mp4"),
    ],
)
def test_file_urls_are_shown_as_paths_without_what_could_steer_a_terminal(stored: str, shown: str) -> None:
    assert readable_url(stored) == shown


@pytest.mark.parametrize("name", ["My Cats/a b.mp4", "100%25 #?.mp4", "猫.mp4", os.fsdecode(b"caf\xe9.mp4")])
def test_a_file_is_looked_up_by_path_shown_path_and_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    stored = request_for(str(path)).url.reveal()
    monkeypatch.chdir(tmp_path)
    for typed in (str(path), name, f"./{name}", readable_url(stored), stored, f"file://{path}"):
        assert stored in stored_spellings(typed), typed
        "".join(stored_spellings(typed)).encode()


def test_a_decoded_web_address_is_looked_up_too() -> None:
    stored = "https://h.example/My%20Cats/a.mp4?token=***"
    assert stored in stored_spellings("https://H.example/My Cats/a.mp4?token=abc")
    assert stored_spellings("https://[broken") == ("https://[broken",)


def test_patterns_see_the_path_and_both_spellings() -> None:
    assert url_spellings("file:///me/My%20Cats/a.mp4") == (
        "/me/My Cats/a.mp4", "file:///me/My Cats/a.mp4", "file:///me/My%20Cats/a.mp4",
    )  # fmt: skip
    assert url_spellings("https://h/My%20Cats?v=a%20b") == ("https://h/My%20Cats?v=a%20b", "https://h/My Cats?v=a b")
    assert url_spellings("s3://films/a%20b.mp4") == ("s3://films/a%20b.mp4",)
    assert url_spellings("https://[broken") == ("https://[broken",)
