"""The library page: complete without scripts, and what scripts add to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import pytest
from starlette.testclient import TestClient

from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests.web.conftest import CUTS, TALK, SmallLibrary

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def client(small_library: SmallLibrary) -> Iterator[TestClient]:
    app = create_app(WebHome(lambda: small_library.settings))
    yield TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5000))
    app.state.home.close()


def links(html: str, part: str) -> list[str]:
    """The addresses in the element with the id `part`, up to the next element with one."""
    inside = html.partition(f'id="{part}"')[2].partition(' id="')[0]
    return [unescape(found) for found in re.findall(r'href="([^"]*)"', inside)]


def videos(html: str) -> list[str]:
    return re.findall(r'data-video="([0-9a-f]{64})"', html)


def test_every_value_of_a_facet_is_a_link_to_as_many_videos_as_it_counts(client: TestClient) -> None:
    facets = client.get("/api/v1/videos").json()["facets"]
    html = client.get("/").text
    offered = {dict(parse_qsl(link.partition("?")[2]))["filter"]: link for link in links(html, "facets")}
    counted = {f'{field}:"{value}"': count for field, counts in facets.items() for value, count in counts.items()}
    assert counted.keys() <= offered.keys()
    for condition in [*counted][:3] + [*counted][-2:]:
        assert len(videos(client.get(offered[condition]).text)) == counted[condition]


def test_the_page_and_the_api_answer_a_query_string_with_the_same_videos(client: TestClient) -> None:
    for query in ("", "q=lighthouse", "order=name", 'filter=tag:"Silent"&order=duration', "q=red&moments=true"):
        items = client.get(f"/api/v1/search?{query}").json()["items"]
        assert videos(client.get(f"/?{query}&view=list").text) == [item["video"] for item in items]


def test_an_active_filter_is_removed_by_its_chip_and_kept_by_everything_else(client: TestClient) -> None:
    condition = 'tag:"with \\"quotes\\" & <b>"'
    html = client.get("/", params={"q": "red", "filter": ["label:Seaside", condition], "view": "list"}).text
    assert "tag: with &#34;quotes&#34; &amp; &lt;b&gt;" in html
    kept = [dict(parse_qsl(link.partition("?")[2])) for link in links(html, "filters")]
    assert [one["filter"] for one in kept] == [condition, "label:Seaside"]
    assert all(one["q"] == "red" and one["view"] == "list" for one in kept)


def test_the_next_page_follows_by_a_link(client: TestClient) -> None:
    first = client.get("/?limit=1&order=name").text
    second = client.get(links(first, "more")[0]).text
    assert len(videos(first)) == 1
    assert sorted(videos(first) + videos(second)) == sorted(videos(client.get("/").text))


def test_a_wrong_query_is_explained_beside_it(client: TestClient) -> None:
    answer = client.get("/", params={"q": 'tag:"never closed'})
    assert answer.status_code == 400
    assert "This quotation mark is not closed." in answer.text
    assert 'value="tag:&#34;never closed"' in answer.text


def test_a_misspelled_word_is_corrected_by_a_link(client: TestClient) -> None:
    assert "/?q=lighthouse" in links(client.get("/?q=lighthuose").text, "notes")


def test_a_hit_links_to_its_second_and_marks_the_words(client: TestClient, small_library: SmallLibrary) -> None:
    html = client.get("/?q=boat").text
    assert f"/videos/{small_library.videos[TALK]}?t=1.2&amp;q=boat" in html
    assert "A red <mark>boat</mark>" in html


def test_a_hostile_name_is_text(client: TestClient) -> None:
    html = client.get("/").text
    assert "<img src=x" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_who_may_only_read_is_offered_no_changes(client: TestClient, small_library: SmallLibrary) -> None:
    from vidpipe.library.api_keys import ApiKeys
    from vidpipe.library.library import Library
    from vidpipe.stages.registry import build_graph

    with Library.open(small_library.settings, build_graph(small_library.settings)) as library:
        _, secret = ApiKeys(library.collections).create("reader", "read")
    html = client.get("/", headers={"Authorization": f"Bearer {secret}"}).text
    assert 'data-action="export"' in html
    assert not re.search(r'data-action="(labels|run|forget)"', html)


def test_search_facet_preview_and_open_in_a_browser(page: Page, small_library: SmallLibrary) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    page.get_by_role("combobox", name="Search").fill("lighthouse")
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text("1 video")
    expect(page).to_have_url(re.compile(r"/\?q=lighthouse$"))
    page.goto("/")
    page.locator("#facets").get_by_role("link", name="Silent").click()
    chip = page.get_by_role("link", name="Remove the filter tag: Silent")
    expect(chip).to_be_visible()
    chip.click()
    expect(page.locator("#count")).to_have_text("4 videos")
    item = page.locator(f'.item[data-video="{small_library.videos[CUTS]}"]')
    item.locator(".thumb").hover(position={"x": 5, "y": 60})
    preview = item.locator(".preview")
    before = preview.evaluate("one => one.style.backgroundPosition")
    item.locator(".thumb").hover(position={"x": 200, "y": 60})
    assert preview.evaluate("one => one.style.backgroundPosition") != before
    item.locator(".open").click()
    expect(page).to_have_url(re.compile(f"/videos/{small_library.videos[CUTS]}$"))
