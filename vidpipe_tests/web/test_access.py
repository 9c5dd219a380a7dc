"""Who gets what: this machine, keys and their scopes, sessions of browsers, proxies, and pages of other sites."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from vidpipe.library.api_keys import ApiKeys, Scope
from vidpipe.network.socket_owner import NO_USER
from vidpipe.operations.http_guard import CLIENT_USER, Guard, listen, page_server
from vidpipe.settings import Settings, configure_logging, init_home
from vidpipe.settings.logs import reset_logging
from vidpipe.web.access import CSRF_COOKIE, CSRF_HEADER, SESSION_COOKIE
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe.web.request_guard import MOST_BODY_BYTES

Client = Callable[..., TestClient]
VIDEO = "0" * 64
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
#: What needs no key, what needs the scope admin, and what is no GET but only shows something.
OPEN = {"/api/v1/health", "/api/v1/session"}
ADMIN = re.compile(r"/api/v1/(settings/files/|forget$|rules/apply$)")
SHOWS = re.compile(r"/api/v1/videos/[^/]+/proxy$")
PAGES = ("/", f"/videos/{VIDEO}", "/review", "/add", "/status", "/settings", "/rules", "/rules/edit", "/duplicates")


@pytest.fixture(scope="module")
def app(module_settings: Settings) -> Iterator[FastAPI]:
    init_home(module_settings.home)
    with closing(WebHome(lambda: module_settings)) as home:
        yield create_app(home)


@pytest.fixture(scope="module")
def stored(app: FastAPI) -> ApiKeys:
    return ApiKeys(app.state.home.opened().library.collections)


@pytest.fixture(scope="module")
def key(stored: ApiKeys) -> Callable[[Scope], dict[str, str]]:
    """The header with a key of a scope."""
    secrets = {scope: stored.create(scope, scope)[1] for scope in ("read", "write", "admin")}
    return lambda scope: {"Authorization": f"Bearer {secrets[scope]}"}


@pytest.fixture
def client(app: FastAPI) -> Client:
    """A client on this machine, or at another address; under the name `host`, behind the guard as it is served."""

    def make(address: str = "127.0.0.1", host: str = "127.0.0.1:8000", scheme: str = "http") -> TestClient:
        return TestClient(
            Guard(app, ["videos.example.org"]), f"{scheme}://{host}", client=(address, 5000), follow_redirects=False,
            raise_server_exceptions=False,
        )  # fmt: skip

    return make


@pytest.fixture
def stranger(client: Client) -> TestClient:
    return client("203.0.113.7", "videos.example.org", "https")


def operations(app: FastAPI) -> Iterator[tuple[str, str, Scope]]:
    """Method and path of everything that the API can do, with values for what is variable; and the scope it needs."""
    for path, methods in app.openapi()["paths"].items():
        for method in {*methods} & {"get", "post", "put", "patch", "delete", "head", "options"}:
            if path not in OPEN:
                shows = method == "get" or SHOWS.match(path)
                scope: Scope = "admin" if ADMIN.match(path) else "read" if shows else "write"
                values = path.replace("{name}", "config.ini")
                yield method.upper(), re.sub(r"\{[^}]*\}", VIDEO, values), scope


def test_everything_needs_a_key_with_its_scope_and_no_larger_one(
    app: FastAPI, stranger: TestClient, key: Callable[[Scope], dict[str, str]]
) -> None:
    assert len(list(operations(app))) > 40
    for method, path, needed in operations(app):
        refused = stranger.request(method, path, json=[])  # a body that nothing accepts: it has no effect
        assert refused.status_code == 401, (method, path)
        assert refused.headers["www-authenticate"] == "Bearer"
        assert method == "HEAD" or refused.json()["title"] == "Unauthorized"
        for scope in SCOPES:
            answer = stranger.request(method, path, json=[], headers=key(scope))
            if SCOPES.index(scope) >= SCOPES.index(needed):
                assert answer.status_code not in (401, 403), (method, path, scope)
            else:
                assert answer.status_code == 403, (method, path, scope)
                assert method == "HEAD" or f"{scope} lacks the scope {needed}" in answer.json()["detail"]


def test_pages_offer_readers_no_changes(stranger: TestClient, key: Callable[[Scope], dict[str, str]]) -> None:
    for scope in SCOPES:
        page = stranger.get("/status", headers=key(scope)).text
        for offered in ('href="/add"', 'id="retry"'):
            assert (offered in page) is (scope != "read"), (offered, scope)


def test_pages_lead_to_the_login_and_back(stranger: TestClient) -> None:
    for path in PAGES:
        answer = stranger.get(f"{path}?q=%2F%2Fevil.test")
        if answer.status_code != 404:
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login?next=%2F")
    assert stranger.get("/login").status_code == 200


def test_this_machine_needs_no_key_but_whoever_may_come_from_elsewhere_does(app: FastAPI, client: Client) -> None:
    assert client().get("/api/v1/videos").status_code == 200
    assert client("::1", "[::1]:8000").get("/api/v1/videos").status_code == 200
    assert client("203.0.113.7").get("/api/v1/videos").status_code == 401
    assert client("127.0.0.1", "videos.example.org").get("/api/v1/videos").status_code == 401
    for header in ("X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via", "CF-Connecting-IP"):
        assert client().get("/api/v1/videos", headers={header: "127.0.0.1"}).status_code == 401, header
    wrong = client().get("/api/v1/videos", headers={"Authorization": "Bearer vidpipe_wrong"})
    assert (wrong.status_code, wrong.json()["detail"]) == (401, "The key is not valid.")
    of_a_proxy = client().get("/api/v1/videos", headers={"Authorization": "Basic dXNlcjpwYXNzd29yZA=="})
    assert of_a_proxy.status_code == 200


@pytest.mark.parametrize(
    ("user", "expected"),
    [(os.getuid(), 200), (0, 200), (None, 200), (os.getuid() + 1, 401), (NO_USER, 401)],
    ids=["this user", "root", "the system does not tell", "another user", "who closed the connection"],
)
def test_other_users_of_this_machine_need_a_key(client: Client, user: int | None, expected: int) -> None:
    page = client()
    page.app_state[CLIENT_USER] = user
    assert page.get("/api/v1/videos").status_code == expected


def test_who_closes_a_connection_at_once_is_no_user() -> None:
    seen: list[int | None] = []

    async def app(scope: AsgiScope, receive: Receive, send: Send) -> None:
        seen.append(scope["state"][CLIENT_USER])
        server.should_exit = True

    (listener,) = listen("127.0.0.1", 0, "LibraryPort")
    with socket.create_connection(listener.getsockname()) as hasty:
        hasty.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
    server = page_server(app, ())
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    thread.join(10)
    assert seen == [NO_USER if sys.platform == "linux" else None]


@pytest.mark.parametrize("changes", [{"require_keys": "always"}, {"public_url": "https://videos.example.org"}])
def test_keys_can_be_required_everywhere(module_settings: Settings, changes: dict[str, str]) -> None:
    page = module_settings.library_page.model_copy(update=changes)
    settings = module_settings.model_copy(update={"library_page": page})
    with closing(WebHome(lambda: settings)) as home:
        client = TestClient(create_app(home), "http://127.0.0.1:8000", client=("127.0.0.1", 5000))
        assert client.get("/api/v1/videos").status_code == 401
        assert client.get("/api/v1/health").json() == {"status": "ok", "version": client.app.version}  # type: ignore[attr-defined]


def test_keys_end(stored: ApiKeys, stranger: TestClient) -> None:
    soon, secret = stored.create("soon over", "read", datetime.now(UTC) + timedelta(hours=1))
    headers = {"Authorization": f"Bearer {secret}"}
    assert stranger.get("/api/v1/videos", headers=headers).status_code == 200
    stored._keys.update_one({"_id": soon.id}, {"$set": {"expires_at": datetime.now(UTC) - timedelta(seconds=1)}})
    assert stranger.get("/api/v1/videos", headers=headers).status_code == 401
    assert stored.revoke(soon.id)
    assert not stored.revoke(soon.id)


def sign_in(client: TestClient, secret: str, **headers: str) -> Any:
    client.get("/login")
    headers |= {CSRF_HEADER: client.cookies[CSRF_COOKIE], "Origin": str(client.base_url).rstrip("/")}
    return client.post("/api/v1/session", json={"key": secret}, headers=headers)


def test_a_session_has_the_rights_of_its_key_and_ends(stored: ApiKeys, stranger: TestClient) -> None:
    key, secret = stored.create("my laptop", "read")
    signed_in = sign_in(stranger, secret)
    assert signed_in.json() == {"name": "my laptop", "scope": "read"}
    session, csrf = signed_in.headers.get_list("set-cookie")
    assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/"} <= set(session.split("; "))
    assert "HttpOnly" not in csrf
    assert secret not in session
    assert stranger.get("/api/v1/session").json() == {"name": "my laptop", "scope": "read"}
    assert "Sign out" in stranger.get("/").text

    value = stranger.cookies[SESSION_COOKIE]
    assert stored._sessions.count_documents({"_id": value}) == 0, "it is stored as a hash"
    again = sign_in(stranger, secret)
    assert again.status_code == 200
    assert stranger.cookies[SESSION_COOKIE] != value
    assert stored.of_session(value) is None, "the one before is over"

    value = stranger.cookies[SESSION_COOKIE]
    ended = stranger.delete("/api/v1/session", headers={CSRF_HEADER: stranger.cookies[CSRF_COOKIE]})
    assert (ended.status_code, ended.headers.get("content-type")) == (204, None)
    assert SESSION_COOKIE not in stranger.cookies
    assert stored.of_session(value) is None
    assert stranger.get("/api/v1/session").json() == {"name": None, "scope": None}

    sign_in(stranger, secret)
    stored.revoke(key.id)
    assert stranger.get("/api/v1/videos").status_code == 401


def test_a_cookie_is_secure_only_where_the_browser_would_send_it(client: Client, stored: ApiKeys) -> None:
    _, secret = stored.create("plain", "read")
    for given, secure in ((client(), False), (client("127.0.0.1", "videos.example.org"), False)):
        cookies = sign_in(given, secret).headers.get_list("set-cookie")
        assert [("Secure" in cookie) for cookie in cookies] == [secure, secure]
    proxied = client("127.0.0.1", "videos.example.org").get("/login", headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in proxied.headers["set-cookie"]


def test_the_session_of_this_machine(client: Client) -> None:
    assert client().get("/api/v1/session").json() == {"name": "this machine", "scope": "admin"}


@pytest.mark.parametrize("given", ["", "x" * 201, "vidpipe_", "\ud800", "vidpipe_" + "A" * 43, {"$ne": ""}, None])
def test_a_wrong_key_signs_nobody_in(given: Any, client: Client) -> None:
    body = json.dumps({"key": given}).encode()
    answer = client().post("/api/v1/session", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (401, 422)
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-type"] == "application/problem+json"
    assert not (isinstance(given, str) and len(given) > 20 and given in answer.text)


def test_a_forged_request_changes_nothing(client: Client) -> None:
    mine = client()
    mine.get("/login")
    token = {CSRF_HEADER: mine.cookies[CSRF_COOKIE]}
    path = "/api/v1/session"
    assert mine.delete(path).status_code == 403, "a cookie alone is sent with forged requests, too"
    assert mine.delete(path, headers={CSRF_HEADER: "x"}).status_code == 403
    assert mine.delete(path, headers={**token, "Authorization": "Basic eDp5"}).status_code == 204
    assert mine.delete(path, headers={"Authorization": "Basic eDp5"}).status_code == 403, "browsers add it themselves"
    assert mine.delete(path, headers=token).status_code == 204
    for foreign in (
        {"Origin": "http://127.0.0.1:9999"},  # of the same site, on another port
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Host": "rebound.test:8000"},
    ):
        assert mine.delete(path, headers=token | foreign).status_code in (403, 421), foreign
    assert client().delete(path).status_code == 204, "a program"
    for media_type in ("text/plain", "application/x-www-form-urlencoded"):
        sent = client().post(path, content=b'{"key": "x"}', headers={"Content-Type": media_type})
        assert sent.status_code == 422, "what a form can send is not JSON"


def test_no_page_of_another_site_links_into_the_api_and_only_thumbnails_are_shown_on_dagsters(client: Client) -> None:
    link = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client().get("/login", headers=link).status_code == 200
    assert client().get("/api/v1/videos", headers=link).status_code == 403
    image = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    thumbnail = f"/api/v1/videos/{VIDEO}/thumbnail"
    shown = client().get(thumbnail, headers=image)
    assert shown.status_code == 404
    assert shown.headers["cross-origin-resource-policy"] == "cross-origin", "or Chromium hides it from another port"
    assert client().get(thumbnail).headers["cross-origin-resource-policy"] == "same-site"
    assert client().get(thumbnail, headers=image | {"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client().get(thumbnail, headers=image | {"Sec-Fetch-Dest": "empty"}).status_code == 403
    other = client().get(f"/api/v1/videos/{VIDEO}/frame?t=1", headers=image)
    assert (other.status_code, other.headers["cross-origin-resource-policy"]) == (403, "same-origin")


def test_every_response_forbids_what_a_page_does_not_need(client: Client) -> None:
    for path in ("/", "/login", "/none", "/static/base.js", "/api/v1/videos", "/api/v1/none", "/api/openapi.json"):
        headers = client().get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert ("sandbox" in policy) == path.startswith("/api/v1/")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    page = client().get("/login").text
    assert "<script>" not in page
    assert " style=" not in page
    assert " on" not in re.sub(r">[^<]*<", "><", page)


def test_a_request_is_bounded(client: Client) -> None:
    large = b'{"key": "' + b"x" * MOST_BODY_BYTES + b'"}'
    answer = client().post("/api/v1/session", content=large, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert "4,000,000 bytes" in answer.json()["detail"]
    assert client().get("/api/v1/videos", params={"q": "x" * 2001}).status_code == 422
    assert client().get("/api/v1/videos", params={"filter": ["x"] * 51}).status_code == 422
    assert client().get("/api/v1/videos", params={"limit": 501}).status_code == 422
    together = client().get("/api/v1/videos", params={"filter": ["x" * 2000] * 6})
    assert (together.status_code, "10,000 characters" in together.text) == (400, True)


def test_changes_are_audited_with_the_name_of_the_key(
    module_settings: Settings, stored: ApiKeys, stranger: TestClient
) -> None:
    _, secret = stored.create("an auditor", "read")
    configure_logging(module_settings)
    try:
        sign_in(stranger, secret)
    finally:
        reset_logging()
    audit = (module_settings.home / "data" / "logs" / "audit.jsonl").read_text()
    (entry,) = [entry for line in audit.splitlines() if (entry := json.loads(line))["event"] == "web"]
    assert (entry["caller"], entry["action"]) == ("an auditor", "signed in")
    assert secret not in audit


def test_a_library_that_cannot_be_reached_says_no_more_to_strangers(tmp_path: Any) -> None:
    from pydantic import SecretStr

    from vidpipe.settings.schema import MongoDB

    database = MongoDB(uri=SecretStr("mongodb://user:telltale@127.0.0.1:1/"), timeout_s=0.1)
    with closing(WebHome(lambda: Settings(home=tmp_path, mongodb=database))) as home:
        client = TestClient(create_app(home), "http://127.0.0.1:8000", client=("203.0.113.7", 5000))
        answer = client.get("/api/v1/health")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "The library cannot be reached."


def test_two_requests_with_one_key_at_once(stranger: TestClient, key: Callable[[Scope], dict[str, str]]) -> None:
    seen: list[int] = []
    threads = [
        threading.Thread(target=lambda: seen.append(stranger.get("/api/v1/videos", headers=key("read")).status_code))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [200] * 8
