"""The guard lets our own pages and programs through, and nothing that a page of another site can send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from dagster_webserver.webserver import DagsterWebserver
from starlette.responses import Response
from starlette.testclient import TestClient

from vidpipe.operations.http_guard import Guard

OWN = "localhost:3000"
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
JSON = {"content-type": "application/json"}


async def app(*_: Any) -> None:
    """Never reached: only the guard's judgement is asked for."""


GUARD = Guard(app, ["127.0.0.1", "Videos.Example.org."])


def scope_of(
    path: str = "/",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    method: str = "GET",
    *,
    host: str | None = OWN,
    query: str = "",
    kind: str = "http",
    at: str = "127.0.0.1",
) -> dict[str, Any]:
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    named = [*([("host", host)] if host is not None else []), *pairs]
    return {
        "type": kind, "method": method, "path": path, "query_string": query.encode(), "server": (at, 3000),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in named],
    }  # fmt: skip


def status(*args: Any, guard: Guard = GUARD, **kwargs: Any) -> int:
    """200: it is passed on."""
    refusal = guard.refusal(scope_of(*args, **kwargs))
    return refusal.status if refusal else 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:3000", "localhost.:3000", "127.0.0.1:3000", "127.8.9.1", "[::1]:3000", "[::1]",
             "videos.example.org", "VIDEOS.example.org.:80", "localhost:8080"],
)  # fmt: skip
def test_names_of_ours_are_served(host: str) -> None:
    assert status(host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.test:3000", "localhost.evil.test", "evil.test.localhost:x", "me@localhost", "localhost@evil.test",
             "localhost:3000:1", "localhost/", "localhost#", "localhost evil.test", "localhost,evil.test",
             "localhost..", "", ":3000", "::1", "[::1", "[localhost]", "192.168.1.9", "0.0.0.0:3000", "[::]",
             "127.0.0.1.evil.test", "videos.example.org\xe9", "1270.0.0.1", "2130706433"],
)  # fmt: skip
def test_other_names_are_refused(host: str) -> None:
    assert status(host=host) == 421


def test_one_host_header_it_is() -> None:
    assert status(host=None) == 421
    assert status(headers=[("host", OWN)]) == 421
    assert status("http://evil.test/", method="GET") == 421
    assert "AllowedHosts" in GUARD.refusal(scope_of(host="videos.example.net"))[1]  # type: ignore[index]


def test_a_server_on_all_addresses_is_reached_by_the_one_a_connection_arrives_at() -> None:
    everywhere = Guard(app, ["0.0.0.0"])
    assert status(host="192.168.1.9:3000", at="192.168.1.9", guard=everywhere) == 200
    assert status(host="192.168.1.8:3000", at="192.168.1.9", guard=everywhere) == 421
    assert status(host="0.0.0.0:3000", guard=everywhere) == 421
    assert status(host="evil.test", at="192.168.1.9", guard=everywhere) == 421


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [("http://localhost:3000", OWN, 200), ("https://localhost:3000", OWN, 200), ("http://LocalHost:3000", OWN, 200),
     ("https://videos.example.org", "videos.example.org", 200), ("http://localhost", "localhost:80", 200),
     ("https://videos.example.org", "videos.example.org:443", 200), ("http://[::1]:3000", "[::1]:3000", 200),
     ("http://localhost:3001", OWN, 403), ("http://localhost", OWN, 403), ("http://127.0.0.1:3000", OWN, 403),
     ("http://evil.test:3000", OWN, 403), ("null", OWN, 403), ("", OWN, 403), ("localhost:3000", OWN, 403),
     ("file://localhost:3000", OWN, 403), ("chrome-extension://localhost:3000", OWN, 403),
     ("http://evil.test@localhost:3000", OWN, 403), ("http://localhost:3000/", OWN, 403)],
)  # fmt: skip
def test_an_origin_is_the_same_host_and_port(kind: str, origin: str, host: str, expected: int) -> None:
    headers = {"origin": origin, **JSON}
    assert status("/graphql", headers, "POST", host=host, kind=kind) == expected


def test_each_origin_counts() -> None:
    both = [("origin", "http://localhost:3000"), ("origin", "http://evil.test")]
    assert status("/graphql", both, kind="websocket") == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_of_another_site_only_links_to_pages_lead_here(site: str) -> None:
    assert status("/favicon.png", {"sec-fetch-site": site}) == 403
    link = {**LINK, "sec-fetch-site": site}
    assert status("/runs/1", link) == 200
    assert status("/runs/1", {**link, "origin": "null"}) == 200
    for change in ({"sec-fetch-dest": "iframe"}, {"sec-fetch-dest": "object"}, {"sec-fetch-mode": "no-cors"}):
        assert status("/runs/1", {**link, **change}) == 403
    assert status("/runs/1", link, "POST") == 403
    assert status("/graphql", link) == 403
    assert status("/graphql", {"sec-fetch-site": site}, kind="websocket") == 403
    for own in ("same-origin", "none"):
        assert status("/logs/x", {"sec-fetch-site": own}) == 200
    assert status("/graphql", {"sec-fetch-site": site, "origin": f"http://{OWN}"}, kind="websocket") == 200


def test_graphql_comes_as_json_in_a_post() -> None:
    assert status("/graphql", JSON, "POST") == 200
    assert status("/graphql", {"content-type": "Application/JSON ; charset=utf-8"}, "POST") == 200
    for content_type in ("text/plain", "text/plain; x=application/json", "application/graphql", "multipart/form-data",
                         "application/x-www-form-urlencoded", "application/json, text/plain"):  # fmt: skip
        assert status("/graphql", {"content-type": content_type}, "POST") == 415
    assert status("/graphql", {}, "POST", query="query=mutation{x}") == 415
    assert status("/graphql", [*JSON.items(), ("content-type", "text/plain")], "POST") == 415
    for method in ("GET", "HEAD", "PUT"):
        assert status("/graphql", {}, method, query="query={version}") == 405
    assert status("/graphql") == 200, "the page on which queries are written"
    for path in ("/graphql\n", "/graphql\r", "/graphql/\n"):
        assert status(path, {}, query="query={version}") == status(path, JSON, "POST") == 400


def test_a_preflight_of_another_site_is_refused() -> None:
    asked = {"origin": "http://evil.test", "access-control-request-method": "POST"}
    assert status("/graphql", asked, "OPTIONS") == status("/report_asset_materialization/a", asked, "OPTIONS") == 403


def test_links_of_other_sites_lead_to_none_of_dagsters_endpoints_but_its_pages() -> None:
    """Fails where a new Dagster has an endpoint that the guard does not know."""
    server: Any = object.__new__(DagsterWebserver)  # its routes need no workspace
    server._app_path_prefix = ""
    paths = {route.path.split("{")[0] for route in server.build_routes() if not route.name.endswith("_static")}
    pages = {path for path in paths if status(path, LINK) == 200}
    assert pages == {"/"}
    assert {"/graphql", "/logs/", "/server_info"} <= paths


def test_pages_at_other_ports_show_thumbnails_and_nothing_else() -> None:
    videos = f"/api/v1/videos/{'0' * 64}"
    image = {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert status(f"{videos}/thumbnail", image) == 200
    assert status(f"{videos}/thumbnail", {**image, "sec-fetch-site": "cross-site"}) == 403
    assert status(f"{videos}/thumbnail", {**image, "sec-fetch-dest": "empty"}) == 403
    assert status(f"{videos}/media", image) == 403


def test_browsers_let_such_pages_read_thumbnails() -> None:
    async def answering(scope: Any, receive: Any, send: Any) -> None:
        await Response()(scope, receive, send)

    client = TestClient(Guard(answering, []), base_url="http://localhost:3000")
    policy, thumbnail = "cross-origin-resource-policy", f"/api/v1/videos/{'0' * 64}/thumbnail"
    image = {"sec-fetch-site": "same-site", "sec-fetch-dest": "image"}
    assert client.get(thumbnail, headers=image).headers[policy] == "cross-origin"
    assert client.get(thumbnail).headers[policy] == "same-site"
    assert client.get(thumbnail).headers["vary"] == "Sec-Fetch-Site"
    assert client.get("/").headers[policy] == "same-origin"


def test_programs_are_told_by_problem_json() -> None:
    client = TestClient(Guard(app, []), base_url="http://evil.test")
    refused = client.get("/api/v1/videos")
    assert (refused.status_code, refused.headers["content-type"]) == (421, "application/problem+json")
    assert refused.json()["status"] == 421
    assert client.get("/").headers["content-type"].startswith("text/plain")
