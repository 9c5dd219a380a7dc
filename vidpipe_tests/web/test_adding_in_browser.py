"""The page to add videos in a real browser: URLs, lists and files are followed until the videos are tagged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests import clips
from vidpipe_tests.operations.serving_page import serving
from vidpipe_tests.web.conftest import SmallLibrary

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.soak

_TAGGED_MS = 300_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address and the folder of a web site with videos."""
    folder = tmp_path_factory.mktemp("site")
    clips.moving(folder / "walk.mp4", seconds=1.2)
    (folder / "again.mp4").write_bytes((folder / "walk.mp4").read_bytes())
    clips.moving(folder / "mine.mp4", seconds=1.4)
    clips.moving(folder / "dropped.mp4", seconds=1.6)
    with serving(Starlette(routes=[Mount("/", StaticFiles(directory=folder))])) as port:
        yield f"http://127.0.0.1:{port}", folder


@pytest.fixture(scope="module")
def served(own_library: SmallLibrary) -> Iterator[str]:
    download = own_library.settings.download.model_copy(update={"allowed_private": ("127.0.0.1",), "retries": 0})
    settings = own_library.settings.model_copy(update={"download": download})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDPIPE_MONGODB_URI", settings.mongodb.uri.get_secret_value())  # for the processes of jobs
        patch.setenv("VIDPIPE_MONGODB_DATABASENAME", settings.mongodb.database_name)
        patch.setenv("VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE", "127.0.0.1")
        patch.setenv("VIDPIPE_DOWNLOAD_RETRIES", "0")
        with closing(WebHome(lambda: settings)) as home, serving(create_app(home)) as port:
            yield f"http://127.0.0.1:{port}"


def test_urls_arrive_and_are_tagged_and_what_failed_says_why(page: Page, site: tuple[str, Path]) -> None:
    from playwright.sync_api import expect

    address, _ = site
    page.goto("/add")
    page.get_by_label("URLs", exact=True).fill("\n".join(f"{address}/{name}.mp4" for name in ("walk", "again", "gone")))
    page.get_by_label("Labels for all").fill("Sent")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#summary")).to_have_text("2 of 3 tagged, 1 failed.", timeout=_TAGGED_MS)
    expect(page.locator("#items .error:not(:empty)")).to_contain_text("404")
    page.reload()
    expect(page.locator("#summary")).to_have_text("2 of 3 tagged, 1 failed.")
    page.locator("#items a").first.click()
    expect(page.locator(".labels")).to_contain_text("Sent")


def test_a_list_is_shown_as_it_was_understood(page: Page) -> None:
    from playwright.sync_api import expect

    page.goto("/add")
    text = "link;title;tags\nhttps://v.example/a.mp4;<b>Bold</b>;One, Two\ngopher://v.example/b.mp4;;\n"
    page.locator("#files").set_input_files({"name": "list.csv", "mimeType": "text/csv", "buffer": text.encode()})
    expect(page.locator("#understood")).to_contain_text("1 of 2 lines can be added.")
    expect(page.locator("#lines tr").first).to_contain_text("<b>Bold</b>")
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("#preview")).to_be_hidden()


def test_files_are_chosen_and_dropped(page: Page, site: tuple[str, Path]) -> None:
    from playwright.sync_api import expect

    _, folder = site
    page.goto("/add")
    page.locator("#files").set_input_files(folder / "mine.mp4")
    bits = list((folder / "dropped.mp4").read_bytes())
    dropped = page.evaluate_handle(
        """bits => {
            const all = new DataTransfer();
            all.items.add(new File([new Uint8Array(bits)], "dropped.mp4"));
            return all;
        }""",
        bits,
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    expect(page.locator("#items li")).to_have_count(2)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#summary")).to_have_text("2 of 2 tagged.", timeout=_TAGGED_MS)
