"""The documentation builds as a site: its reference is complete, and reading it needs no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from vidpipe.cli.main import COMMANDS
from vidpipe.settings import Settings
from vidpipe.settings.analyses import ANALYSES
from vidpipe.settings.keys import all_keys
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests.default_graph import GRAPH

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def text(site: Path, page: str) -> str:
    """Return the words of a page, without what is around its article."""
    html = (site / page).read_text(encoding="utf-8")
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html.partition("<article")[2].partition("</article>")[0])).split())


def test_the_reference_has_every_command_setting_and_stage(site: Path) -> None:
    commands = text(site, "reference/commands.html")
    assert [name for name in COMMANDS if f"vidpipe {name} " not in commands] == []
    assert "--max-duration" in commands
    settings = text(site, "reference/settings.html")
    assert [
        key.label
        for key in all_keys()
        if f" {key.name} " not in settings or key.description.partition("`")[0][:20].strip() not in settings
    ] == []
    stages = text(site, "reference/stages.html")
    assert [name for name in (*GRAPH.names, *ANALYSES) if f" {name} " not in stages] == []
    assert "scene_detection.threshold" in stages
    python = text(site, "reference/python.html")
    assert "artifacts_exist" in python
    assert "MongoDBIOManager" in python
    assert "metadata_conditions" in text(site, "reference/rule-files.html")


def test_the_reference_has_every_operation_of_the_api_with_its_scope(site: Path, tmp_path: Path) -> None:
    api = text(site, "reference/api.html")
    operations = [
        f"{method.upper()} {path}"
        for path, methods in create_app(WebHome(lambda: Settings(home=tmp_path))).openapi()["paths"].items()
        for method in methods
    ]
    assert [one for one in operations if f" {one} " not in api] == []
    assert api.count("Scope: ") == len(operations)
    assert api.count("Scope: none") == 4, "signing in and out, and whether the server works"
    assert re.search(r"POST /api/v1/forget .{0,120}?Scope: admin", api)
    assert re.search(r"GET /api/v1/videos .{0,200}?Scope: read", api)


def test_every_page_is_in_the_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")} - {"404.html"}
    links = {*re.findall(r'<a href="\.?/?([^"#:]+\.html)"', home)} | {"index.html"}
    assert pages - links == set()


def test_the_site_asks_nobody_else(site: Path) -> None:
    for path in site.rglob("*.html"):
        html = path.read_text(encoding="utf-8")
        asked = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"', html)
        asked += re.findall(r'<link[^>]+rel="(?:stylesheet|preconnect|icon)"[^>]+href="([^"]+)"', html)
        asked += re.findall(r'<link[^>]+href="([^"]+)"[^>]+rel="(?:stylesheet|preconnect|icon)"', html)
        assert [one for one in asked if re.match(r"(?:https?:)?//", one)] == []
