"""How often a key, or an address without one, may ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from vidpipe.library.api_keys import ApiKeys
from vidpipe.settings import Settings, init_home
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe.web.rate_limits import SIGN_INS_PER_MINUTE, RateLimits, is_file

PER_MINUTE = 5


@pytest.fixture(scope="module")
def home(module_settings: Settings) -> Iterator[WebHome]:
    init_home(module_settings.home)
    page = module_settings.library_page.model_copy(update={"requests_per_minute": PER_MINUTE})
    settings = module_settings.model_copy(update={"library_page": page})
    with closing(WebHome(lambda: settings)) as made:
        yield made


@pytest.fixture
def app(home: WebHome) -> FastAPI:
    return create_app(home)


def at(app: FastAPI, address: str, host: str = "videos.example.org") -> TestClient:
    return TestClient(app, f"http://{host}", client=(address, 5000))


def statuses(client: TestClient, number: int, path: str = "/api/v1/videos", **headers: str) -> list[int]:
    return [client.get(path, headers=headers).status_code for _ in range(number)]


def test_a_key_has_a_limit_wherever_it_is_used(app: FastAPI, home: WebHome) -> None:
    keys = ApiKeys(home.opened().library.collections)
    first, second = ({"Authorization": f"Bearer {keys.create('one', 'read')[1]}"} for _ in range(2))
    answer = at(app, "203.0.113.1").get("/api/v1/videos", headers=first)
    assert answer.headers["ratelimit-policy"] == f'"requests";q={PER_MINUTE};w=60'
    assert re.fullmatch(rf'"requests";r={PER_MINUTE - 1};t=[1-9]\d?', answer.headers["ratelimit"])
    assert statuses(at(app, "203.0.113.2"), PER_MINUTE, **first) == [200] * (PER_MINUTE - 1) + [429]
    refused = at(app, "203.0.113.3").get("/api/v1/videos", headers=first)
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["title"] == "Too Many Requests"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "r=0" in refused.headers["ratelimit"]
    assert statuses(at(app, "203.0.113.1"), 1, **second) == [200]


def test_guesses_count_by_address_and_of_ipv6_by_network(app: FastAPI) -> None:
    for number in range(PER_MINUTE):
        guess = {"Authorization": f"Bearer vidpipe_guess{number}"}
        assert statuses(at(app, "203.0.113.4"), 1, **guess) == [401]
        assert statuses(at(app, f"2001:db8::{number}"), 1, **guess) == [401]
    assert statuses(at(app, "203.0.113.4"), 1) == [429]
    assert statuses(at(app, "2001:db8::ffff"), 1) == [429]
    assert statuses(at(app, "2001:db8:0:1::1"), 1) == [401]
    proxied = {"X-Forwarded-For": "203.0.113.4, 203.0.113.5"}
    assert statuses(at(app, "127.0.0.1"), 1, **proxied) == [401], "what the client itself claims does not count"
    claims = [("X-Forwarded-For", "203.0.113.5"), ("X-Forwarded-For", "203.0.113.4")]
    answer = at(app, "127.0.0.1").get("/api/v1/videos", headers=claims)
    assert answer.status_code == 429, "nor does it in a header of its own, before that of the proxy"


def test_this_machine_may_ask_more_often(app: FastAPI) -> None:
    local = at(app, "127.0.0.1", "127.0.0.1:8000")
    assert statuses(local, 3 * PER_MINUTE) == [200] * (3 * PER_MINUTE)
    assert f"q={20 * PER_MINUTE}" in local.get("/").headers["ratelimit-policy"]


def test_signing_in_is_limited_more_strictly_than_the_rest(app: FastAPI) -> None:
    client = at(app, "203.0.113.6")
    seen = [client.post("/api/v1/session", json={"key": "x"}).status_code for _ in range(SIGN_INS_PER_MINUTE + 1)]
    assert seen == [401] * SIGN_INS_PER_MINUTE + [429]
    assert at(app, "203.0.113.7").post("/api/v1/session", json={"key": "x"}).status_code == 401


def test_files_of_a_page_count_separately(app: FastAPI) -> None:
    client = at(app, "203.0.113.8")
    assert statuses(client, 20 * PER_MINUTE + 1, "/static/base.js") == [200] * (20 * PER_MINUTE) + [429]
    assert statuses(client, 1, "/login") == [200]
    video = "/api/v1/videos/" + "0" * 64
    for path in ("thumbnail", "frame", "media", "proxy", "subtitles.vtt", "storyboard.jpg", "storyboard.vtt"):
        assert is_file(f"{video}/{path}"), path
    for path in (video, f"{video}/scenes", f"{video}/storyboard", "/api/v1/videos", "/x/static/y"):
        assert not is_file(path), path


def test_no_limit() -> None:
    assert RateLimits(0).count("requests", "someone") == ({}, True)
    assert RateLimits(0).count("sign-ins", "someone")[0], "this one stays"
