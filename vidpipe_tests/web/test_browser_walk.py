"""The pages as people use them, in a real browser: by pointer, by keyboard, on a phone, with assistive technology."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import pytest

from vidpipe_tests.web.conftest import CUTS, HOSTILE, TALK, SmallLibrary

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.soak


def serious_violations(page: Page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html']}"
        for one in found if one["impact"] in ("serious", "critical") for node in one["nodes"]
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(
    page: Page, scheme: Literal["light", "dark"], small_library: SmallLibrary
) -> None:
    page.emulate_media(color_scheme=scheme)
    video = f"/videos/{small_library.videos[TALK]}?q=boat"
    pages = (
        video,
        "/review",
        "/review?tag=Silent",
        "/rules",
        "/duplicates",
        "/rules/edit?rule=silent",
        "/rules/history",
        "/add",
        "/status",
        "/settings",
        "/settings?file=config.ini",
        "/login",
        "/api/docs",
    )
    found = {}
    for path in pages:
        page.goto(path, wait_until="networkidle")
        for details in page.locator("main details:not([open]) > summary").all():
            details.click()
        found[path] = serious_violations(page)
    assert found == {path: [] for path in pages}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/review?tag=Silent",
        "/add",
        "/rules",
        "/rules/edit",
        "/duplicates",
        "/status",
        "/settings",
        "/login",
        "/videos/{video}",
    ],
)
def test_no_page_is_wider_than_a_phone(page: Page, path: str, small_library: SmallLibrary) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(path.format(video=small_library.videos[HOSTILE]), wait_until="networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_verdicts_are_given_by_key_and_undone(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/review")
    page.get_by_role("link", name="Silent").click()
    counts = page.locator("#counts")
    expect(counts).to_contain_text(" judged: 0 yes, 0 no")
    expect(page.locator("#sheet li").first).to_be_focused()
    page.keyboard.press("y")
    page.keyboard.press("n")
    expect(counts).to_contain_text("1 yes, 1 no")
    page.keyboard.press("u")
    expect(counts).to_contain_text("1 yes, 0 no")
    page.reload()
    expect(counts).to_contain_text("1 yes, 0 no")
    page.get_by_label("Show").select_option("yes")
    expect(page.locator("#sheet li")).to_have_count(1)
    page.keyboard.press("y")
    page.get_by_role("button", name="Yes").click()
    expect(counts).to_contain_text("0 yes, 0 no")


def test_what_cannot_be_asked_says_what_to_do(
    page: Page, small_library: SmallLibrary, browser_faults: list[str]
) -> None:
    page.goto(f"/videos/{small_library.videos[CUTS]}")
    page.get_by_label("Question about this video").fill("What is shown?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#ask").get_by_text("Set Backend = qwen or endpoint").wait_for()
    browser_faults[:] = [fault for fault in browser_faults if "409 (Conflict)" not in fault]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/?q=lighthouse&view=list&filter=label:Seaside", "/?q=zzz", "/?q=tag:%22x"])
def test_axe_finds_nothing_serious(
    page: Page, path: str, scheme: Literal["light", "dark"], browser_faults: list[str]
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(path)
    assert serious_violations(page) == []
    if page.locator(".item").count():
        page.locator(".item input").first.check()
        assert serious_violations(page) == []
        page.get_by_role("button", name="Run stages…").click()
        page.get_by_text(re.compile("Nothing is due")).wait_for()
        assert serious_violations(page) == []
    browser_faults[:] = [fault for fault in browser_faults if "400 (Bad Request)" not in fault]  # the wrong query


def test_a_range_is_selected_and_labelled(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/?order=name")
    boxes = page.locator(".item input")
    boxes.nth(0).click()
    boxes.nth(2).click(modifiers=["Shift"])
    expect(page.locator("#chosen")).to_have_text("3 videos selected")
    page.get_by_role("button", name="Labels…").click()
    page.get_by_role("combobox", name="Add").fill("Walked, by hand")
    page.keyboard.press("Enter")
    expect(page.locator("#messages")).to_contain_text("Changed the labels of 3 videos.")
    facet = page.locator("#facets").get_by_role("link", name="by hand 3")
    expect(facet).to_be_visible()
    facet.click()
    expect(page.locator("#count")).to_have_text("3 videos")
    expect(page.locator("#actions")).to_be_hidden()


def test_all_hits_are_selected_as_a_search(page: Page) -> None:
    page.goto("/?filter=label:Seaside")
    page.locator(".item input").first.check()
    page.get_by_role("button", name="Select all 4 videos").click()
    page.get_by_role("button", name="Run stages…").click()
    with page.expect_request("**/api/v1/runs") as asked:
        page.get_by_label("Recompute up-to-date results").check()
    assert asked.value.post_data_json["selection"] == {"q": "", "filters": ["label:Seaside"]}
    assert "videos" not in asked.value.post_data_json


def test_a_run_is_planned_then_followed_to_its_end(page: Page, small_library: SmallLibrary) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    page.locator(f'.item[data-video="{small_library.videos[CUTS]}"] input').check()
    page.get_by_role("button", name="Run stages…").click()
    page.get_by_label("Recompute up-to-date results").check()
    expect(page.locator("form[name=run] output.card")).to_contain_text("tags: 1 video")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#messages")).to_contain_text("run succeeded", timeout=60_000)


def test_a_selection_is_downloaded(page: Page, small_library: SmallLibrary) -> None:
    page.goto("/")
    page.locator(f'.item[data-video="{small_library.videos[CUTS]}"] input').check()
    page.get_by_role("button", name="Export…").click()
    with page.expect_download() as downloaded:
        page.get_by_role("button", name="Download").click()
    rows = downloaded.value.path().read_text().splitlines()
    assert len(rows) == 2
    assert small_library.videos[CUTS] in rows[1]


def test_what_is_forgotten_is_listed_before(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/?q=onerror")
    page.locator(".item input").check()
    page.get_by_role("button", name="Forget…").click()
    expect(page.locator("form[name=forget] output.card")).to_contain_text(
        re.compile(r"1 video, [\d.]+ MB\n?<img src=x")
    )
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(page.locator("#count")).to_have_text("1 video")


def test_everything_works_by_keyboard(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/?order=name")
    page.keyboard.press("/")
    page.keyboard.type("ca")
    expect(page.get_by_role("option").first).to_contain_text("category:")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("combobox", name="Search")).to_have_value("category:")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.press("Tab")
    page.get_by_role("link", name="Library").focus()
    page.locator(".item .open").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".item .open").nth(1)).to_be_focused()
    expect(page.locator(".item").nth(1).locator(".preview")).to_be_visible()
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+X")
    expect(page.locator("#chosen")).to_have_text("2 videos selected")
    page.keyboard.press("Escape")
    expect(page.locator("#actions")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/videos/[0-9a-f]{64}"))


def test_more_videos_load_and_are_there_again_after_going_back(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/?limit=1&order=name")
    expect(page.locator(".item")).to_have_count(4)
    page.locator(".item .open").nth(3).click()
    expect(page).to_have_url(re.compile("/videos/"))
    page.go_back()
    expect(page.locator(".item")).to_have_count(4)
    page.locator("#facets").get_by_role("link", name="Silent").click()
    expect(page.locator("#filters .chip")).to_have_count(1)
    page.go_back()
    expect(page.locator(".item")).to_have_count(4)
    expect(page.locator("#filters .chip")).to_have_count(0)


@pytest.mark.parametrize("view", ["grid", "list"])
def test_a_phone_shows_it_without_scrolling_sideways(page: Page, view: str) -> None:
    from playwright.sync_api import expect

    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"/?view={view}")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    expect(page.locator("#facets")).to_be_hidden()
    page.get_by_role("button", name="Filters").click()
    page.locator("#facets").get_by_role("link", name="Silent").click()
    expect(page.locator("#filters .chip")).to_have_count(1)
    page.get_by_role("button", name="Done").click()
    expect(page.locator("#facets")).to_be_hidden()


def test_it_works_without_scripts(page: Page, served: str) -> None:
    browser = page.context.browser
    assert browser is not None
    plain = browser.new_context(java_script_enabled=False, base_url=served).new_page()
    plain.goto("/?limit=1")
    plain.get_by_role("link", name="Load more").click()
    assert plain.locator(".item").count() == 3
    plain.get_by_role("combobox", name="Search").fill("lighthouse")
    plain.get_by_role("button", name="Search").click()
    assert plain.locator(".item").count() == 1
