"""A small library of real clips, its page served on the loopback, and a real browser to look at it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings, init_home
from vidpipe.sources.ingest import Ingest
from vidpipe.sources.inputs import gather
from vidpipe.stages.registry import build_graph
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests import clips
from vidpipe_tests.conftest import settings_of
from vidpipe_tests.operations.serving_page import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: The clips of `small_library`; the last one's name is hostile.
CUTS, TALK, TALL, HOSTILE = "cuts.mp4", "lighthouse.mkv", "tall.mp4", "<img src=x onerror=alert(1)> & \"q\" 'x'.mp4"


@dataclass(frozen=True)
class SmallLibrary:
    """A library whose videos are through all stages.

    Attributes:
        settings: Its settings.
        videos: File name -> sha256.
    """

    settings: Settings
    videos: dict[str, str]


def fill(settings: Settings, folder: Path, labels: tuple[str, ...] = ()) -> dict[str, str]:
    """Add the clips of a folder, run all stages over them in this process, and return file name -> sha256."""
    graph = build_graph(settings)
    requests = [replace(one, labels=labels) for one in gather([str(folder)]).requests]
    with Library.open(settings, graph) as library, closing(Plan.make(graph, settings)) as plan:
        outcomes = Ingest(settings, library.sources).run(requests)
        report = Runner(library, plan).run()
    assert not report.failures, report.failures
    return {Path(outcome.input).name: outcome.video for outcome in outcomes if outcome.video}


@pytest.fixture(scope="session")
def small_library(mongod_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLibrary]:
    """Four clips of one to three seconds; for tests that only look, or leave everything as it was."""
    folder = tmp_path_factory.mktemp("clips")
    clips.color_cuts(folder / CUTS, ("red", "green", "blue"), audio="sine")
    clips.subtitled(folder / TALK, [(0.2, 1.0, "What a wonderful, happy lighthouse"), (1.2, 2.0, "A red boat")])
    clips.moving(folder / TALL, size="180x320", seconds=1.0)
    clips.moving(folder / HOSTILE, source="smptebars", seconds=1.0)
    with settings_of(tmp_path_factory.mktemp("home"), mongod_uri) as settings:
        init_home(settings.home)
        yield SmallLibrary(settings, fill(settings, folder, labels=("Seaside",)))


def copied(library: SmallLibrary, settings: Settings) -> SmallLibrary:
    """A copy of a library in a home and a database of its own, to be changed."""
    init_home(settings.home)
    shutil.copytree(library.settings.home / "data", settings.home / "data", dirs_exist_ok=True)
    graph = build_graph(settings)
    with Library.open(library.settings, graph) as original, Library.open(settings, graph) as copy:
        for name, collection in original.collections.items():
            copy.collections[name].delete_many({})
            if documents := list(collection.find()):
                copy.collections[name].insert_many(documents)
    return SmallLibrary(settings, library.videos)


@pytest.fixture(scope="module")
def own_library(small_library: SmallLibrary, module_settings: Settings) -> SmallLibrary:
    """A copy of `small_library` for the tests of a file."""
    return copied(small_library, module_settings)


@pytest.fixture(scope="module")
def served(own_library: SmallLibrary) -> Iterator[str]:
    """The address of the library page of `own_library`, without a slash at the end.

    Processes of their own find the library, too, by variables.
    """
    home, settings = WebHome(lambda: own_library.settings), own_library.settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDPIPE_HOME", str(settings.home))
        patch.setenv("VIDPIPE_MONGODB_URI", settings.mongodb.uri.get_secret_value())
        patch.setenv("VIDPIPE_MONGODB_DATABASENAME", settings.mongodb.database_name)
        with closing(home), serving(create_app(home)) as port:
            yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; the test is skipped where there is none."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("there is no chromium on PATH")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def browser_faults() -> list[str]:
    """What went wrong in `page` so far; a test that expects some of it removes it."""
    return []


@pytest.fixture
def page(browser: Browser, served: str, browser_faults: list[str]) -> Iterator[Page]:
    """A tab on `served` (`page.goto("/")`). Console errors, CSP violations and exceptions fail the test."""
    with closing(browser.new_context(base_url=served, viewport={"width": 1280, "height": 800})) as context:
        context.set_default_timeout(10_000)
        tab = context.new_page()
        tab.on("console", lambda said: browser_faults.append(said.text) if said.type == "error" else None)
        tab.on("pageerror", lambda error: browser_faults.append(str(error)))
        tab.on("dialog", lambda dialog: (browser_faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        yield tab
    assert browser_faults == []
