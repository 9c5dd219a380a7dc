"""What a page of another site can do to the pages of a running home, in a real browser: nothing."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests

from vidpipe.operations.services.service_definitions import find_running
from vidpipe_tests.end_to_end.unattended_home import UnattendedHome
from vidpipe_tests.loopback_server import LoopbackHandler, LoopbackServer

_ATTACKS = Path(__file__).with_name("attacks.html").read_bytes()
_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-popup-blocking",
    "--disable-background-networking", "--disable-features=HttpsUpgrades,HttpsFirstBalancedMode",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
)  # fmt: skip
_PAUSED = "{ instance { autoMaterializePaused } }"


class _ForeignSite(LoopbackServer):
    """The attacking page. Under other paths it passes requests on to the page at the port `victim`, as a browser sees a
    name that is pointed at this machine later on.

    then: where the attacking page goes after each of its reports
    """

    def __init__(self, victim: int) -> None:
        super().__init__(_ForeignHandler)
        self.victim = victim
        self.reports: queue.Queue[tuple[str, dict[str, str]]] = queue.Queue()
        self.then: list[str] = []


class _ForeignHandler(LoopbackHandler):
    server: _ForeignSite

    def do_GET(self) -> None:
        if self.path.startswith("/attack"):
            self.send(200, _ATTACKS, {"Content-Type": "text/html"})
        else:
            self._pass_on(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/report":
            self.server.reports.put((self.headers["Host"], json.loads(body)))
            self.send(200, (self.server.then or ["about:blank"]).pop(0).encode())
        else:
            self._pass_on(body)

    def _pass_on(self, body: bytes | None) -> None:
        connection = HTTPConnection("127.0.0.1", self.server.victim, timeout=20)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        self.send(answer.status, answer.read())
        connection.close()


@pytest.fixture
def pages(station: UnattendedHome) -> dict[str, int]:
    """name of a server of the running home -> its port"""
    return {name: server.port for name, server in find_running(station.home.path).items() if server.port}


@pytest.fixture
def site(pages: dict[str, int]) -> Iterator[_ForeignSite]:
    with _ForeignSite(pages["web"]) as running:
        yield running


@pytest.mark.skipif(_BROWSER is None, reason="needs a chromium on PATH")
def test_a_page_of_another_site_reads_nothing_and_does_nothing(
    pages: dict[str, int], site: _ForeignSite, tmp_path: Path
) -> None:
    victims = [f"http://127.0.0.1:{pages['web']}", f"http://localhost:{pages['measures']}"]
    sites = {
        f"evil.test:{site.port}": victims,
        f"127.0.0.1:{site.port}": victims,  # of the same site, on another port
        f"rebound.test:{site.port}": [f"http://rebound.test:{site.port}"],
    }
    first, *site.then = [f"http://{host}/attack?{urlencode({'victim': of}, doseq=True)}" for host, of in sites.items()]
    with subprocess.Popen(
        [str(_BROWSER), *_FLAGS, f"--user-data-dir={tmp_path / 'profile'}", first],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as browser:  # fmt: skip
        reports = dict(site.reports.get(timeout=120) for _ in sites)
        browser.terminate()
    assert set(reports) == set(sites)
    rebound = reports.pop(f"rebound.test:{site.port}")
    readable = {name.partition(" ")[2]: seen for name, seen in rebound.items() if str(seen)[:3].isdigit()}
    assert set(readable) == {"json", "simple", "noReferrer", "get", "info", "page", "metrics"}
    assert all("is not served under the name" in seen for seen in readable.values()), readable
    refused = {"image", "script", "style", "icon", "json", "get", "info", "page", "metrics", "socket", "simple",
               "noReferrer"}  # fmt: skip
    for report in reports.values():
        for victim in victims:
            found = {name.removeprefix(f"{victim} "): seen for name, seen in report.items() if name.startswith(victim)}
            assert {name for name, seen in found.items() if seen == "refused"} == refused
    graphql = f"{victims[0]}/graphql"
    assert requests.post(graphql, json={"query": _PAUSED}, timeout=20).json()["data"]["instance"] == {
        "autoMaterializePaused": True
    }


def test_our_own_pages_and_programs_are_served(pages: dict[str, int]) -> None:
    page, own = f"http://127.0.0.1:{pages['web']}", {"Sec-Fetch-Site": "same-origin"}
    for headers in ({}, {**own, "Origin": page}):
        assert requests.post(f"{page}/graphql", json={"query": _PAUSED}, headers=headers, timeout=20).ok
    for path in ("/", "/runs", "/server_info", "/favicon.png"):
        assert requests.get(page + path, headers=own, timeout=20).ok
    assert requests.get(f"http://localhost:{pages['measures']}/metrics", timeout=20).ok
