"""Signing in and out in a real browser, and what a page at another port of the same host can do about it: nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from vidpipe.library.api_keys import ApiKeys
from vidpipe.settings import Settings, init_home
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests.loopback_server import LoopbackHandler, LoopbackServer
from vidpipe_tests.operations.serving_page import serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.soak


class _ForeignPage(LoopbackHandler):
    def do_GET(self) -> None:
        victim = self.path.partition("?")[2]
        page = f"<a href='{victim}/?q=red'>x</a><form method=post action='{victim}/api/v1/session'></form>"
        self.send(200, page.encode(), {"Content-Type": "text/html"})


@pytest.fixture(scope="module")
def locked_page(module_settings: Settings) -> Iterator[tuple[str, str]]:
    """The address of a page that requires keys, and a key."""
    init_home(module_settings.home)
    page = module_settings.library_page.model_copy(update={"require_keys": "always"})
    settings = module_settings.model_copy(update={"library_page": page})
    with closing(WebHome(lambda: settings)) as home, serving(create_app(home)) as port:
        yield f"http://127.0.0.1:{port}", ApiKeys(home.opened().library.collections).create("mine", "read")[1]


@pytest.fixture
def tab() -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("there is no chromium on PATH")
    flags = ["--no-sandbox", "--host-resolver-rules=MAP *.test 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser.new_page()
        browser.close()


def _sign_in(tab: Page, key: str) -> None:
    tab.fill("#key", key)
    tab.click("button[type=submit]")


def test_signing_in_leads_back_and_signing_out_ends_it(tab: Page, locked_page: tuple[str, str]) -> None:
    address, key = locked_page
    tab.goto(f"{address}/?q=red")
    assert tab.url.startswith(f"{address}/login?next=")
    _sign_in(tab, "wrong")
    assert "The key is not valid" in tab.inner_text(".message")
    _sign_in(tab, key)
    tab.wait_for_url(f"{address}/?q=red")
    tab.click("[data-sign-out]")
    tab.wait_for_url(f"{address}/login")
    tab.goto(f"{address}/?q=red")
    assert "/login" in tab.url


def test_other_sites_link_here_but_cannot_act_and_the_login_leads_nowhere_else(
    tab: Page, locked_page: tuple[str, str]
) -> None:
    address, key = locked_page
    tab.goto(f"{address}/login")
    _sign_in(tab, key)
    tab.wait_for_url(f"{address}/")
    with LoopbackServer(_ForeignPage) as site:
        tab.goto(f"http://127.0.0.1:{site.port}/?{address}")
        with tab.expect_navigation():
            tab.evaluate("document.forms[0].submit()")
        assert "A page of another site sent this request" in tab.inner_text("body")
        tab.goto(f"http://evil.test:{site.port}/?{address}")
        tab.click("a")
        tab.wait_for_url(f"{address}/?q=red")  # by way of the login page, which browsers give the cookie
    for there in (
        "//evil.test",
        "/%09/evil.test",
        "/\\evil.test",
        "https:evil.test",
        "javascript:alert(1)",
        "/login?x",
    ):
        tab.goto(f"{address}/login?next={there}")
        tab.wait_for_url(f"{address}/")
