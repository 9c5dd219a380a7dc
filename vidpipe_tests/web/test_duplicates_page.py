"""Duplicates on the page and in the API: what is found, and what people decide about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from vidpipe.settings.analyses import Analyses
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests import clips
from vidpipe_tests.web.conftest import SmallLibrary, fill

if TYPE_CHECKING:
    from playwright.sync_api import Page

API = "/api/v1/duplicates"
FILM, SMALL = "film.mp4", '<b>small & "co.mkv'


@pytest.fixture(scope="module")
def videos(own_library: SmallLibrary, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """File name -> sha256 of a film and its copy of half the size, in the library with their fingerprints."""
    folder = tmp_path_factory.mktemp("copies")
    film = clips.moving(folder / FILM, source="mandelbrot", seconds=4.0, size="640x360")
    clips.ffmpeg(folder / SMALL, "-i", str(film), "-vf", "scale=320:180", "-crf", "30")
    settings = own_library.settings.model_copy(update={"analyses": Analyses(enabled=("fingerprint",))})
    return fill(settings, folder)


@pytest.fixture
def client(own_library: SmallLibrary) -> Iterator[TestClient]:
    """A program on this machine, without cookies."""
    with closing(WebHome(lambda: own_library.settings)) as home:
        yield TestClient(create_app(home), "http://127.0.0.1:8000", client=("127.0.0.1", 5000))


def test_before_there_are_fingerprints_the_page_says_what_to_do(small_library: SmallLibrary) -> None:
    with closing(WebHome(lambda: small_library.settings)) as home:
        client = TestClient(create_app(home), "http://127.0.0.1:8000", client=("127.0.0.1", 5000))
        found = client.get(API).json()
        assert (found["groups"], found["compared"], found["not_compared"], found["next"]) == ([], 0, 4, None)
        html = client.get("/duplicates").text
        assert "Nothing is compared yet." in html
        assert "<code>vidpipe duplicates</code>" in html


def test_a_copy_is_shown_with_the_one_to_keep_until_somebody_says_that_it_is_none(
    client: TestClient, videos: dict[str, str]
) -> None:
    (group,) = client.get(API).json()["groups"]
    assert (group["keep"], group["why"]) == (videos[FILM], "It has the highest resolution (640x360).")
    assert [copy["video"] for copy in group["copies"]] == [videos[SMALL]]
    pair = f"{API}/distinct/{videos[SMALL]}/{videos[FILM]}"
    said = client.put(pair, params={"note": "two takes"}).json()
    assert (said["by"], said["note"]) == ("this machine", "two takes")
    assert client.get(API).json()["groups"] == []
    assert client.get(f"{API}/distinct").json() == [said]
    assert client.delete(pair).status_code == 204
    assert client.delete(pair).status_code == 404
    assert client.put(f"{API}/distinct/{'0' * 64}/{videos[FILM]}").status_code == 404
    assert client.put(f"{API}/distinct/{videos[FILM]}/{videos[FILM]}").status_code == 400
    assert len(client.get(API).json()["groups"]) == 1


def test_people_decide_in_the_browser_also_on_a_phone(page: Page, videos: dict[str, str]) -> None:
    page.set_viewport_size({"width": 390, "height": 740})
    page.emulate_media(color_scheme="dark")
    page.goto("/duplicates")
    page.get_by_role("heading", name="2 copies").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name=f"Not a duplicate: {SMALL} and {FILM}").click()
    page.get_by_role("button", name="Withdraw").click()
    page.get_by_role("heading", name="2 copies").wait_for()
