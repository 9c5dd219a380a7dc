"""The page of one video in a real browser: it plays from the hit, follows, and is steered by keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from vidpipe_tests.web.conftest import CUTS, TALK, SmallLibrary

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.soak


def time_of(page: Page) -> float:
    return float(page.locator("video").evaluate("video => video.currentTime"))


def eventually(page: Page, condition: Callable[[float], bool]) -> None:
    """Wait until the video is at a time that fulfils `condition`."""
    for _ in range(100):
        if condition(time_of(page)):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"the video is at {time_of(page)} s")


def test_a_browser_plays_from_the_hit_and_is_steered_by_keys(page: Page, small_library: SmallLibrary) -> None:
    page.goto(f"/videos/{small_library.videos[CUTS]}?t=1.5")
    eventually(page, lambda time_s: time_s >= 1.5)
    page.keyboard.press("k")
    eventually(page, lambda time_s: time_s > 1.7)
    page.keyboard.press("k")
    page.wait_for_url(re.compile(r"t=[12]\.\d\d"))
    page.keyboard.press("[")
    page.wait_for_url(re.compile(r"scene=\d"))
    page.locator(".strip [aria-current]").wait_for()
    before = time_of(page)
    page.keyboard.press(".")
    eventually(page, lambda time_s: time_s > before)
    slider = page.get_by_role("slider", name="Timeline")
    slider.focus()
    page.keyboard.press("Home")
    eventually(page, lambda time_s: time_s == 0)
    assert (slider.get_attribute("aria-valuetext") or "").startswith("0:00 of 0:0")
    page.keyboard.press("?")
    assert page.get_by_role("heading", name="Keyboard shortcuts").is_visible()


def test_a_verdict_is_saved_and_taken_back_by_key(page: Page, small_library: SmallLibrary) -> None:
    page.goto(f"/videos/{small_library.videos[CUTS]}")
    tag = page.locator(".tag").first
    for key, said in (("n", "saved: no"), ("n", "no verdict"), ("y", "saved: yes")):
        tag.locator("a").first.focus()
        page.keyboard.press(key)
        tag.get_by_text(said, exact=True).wait_for()
    page.reload()
    tag.get_by_text("saved: yes", exact=True).wait_for()
    tag.locator(".explain summary").click()
    tag.get_by_text("requires").first.wait_for()


def test_the_transcript_seeks_and_is_filtered(page: Page, small_library: SmallLibrary) -> None:
    page.goto(f"/videos/{small_library.videos[TALK]}?q=boat")
    assert page.locator(".lines mark").inner_text() == "boat"
    page.locator(".lines a").nth(1).click()
    page.wait_for_url(re.compile("t=1.20"))
    page.get_by_label("Filter the transcript").fill("happy")
    assert page.locator(".lines li:visible").count() == 1
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
