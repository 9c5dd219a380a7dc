"""The page of one video as the server renders it: everything is in it without scripts, and hostile texts stay text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from starlette.testclient import TestClient

from vidpipe.library.library import Library
from vidpipe.stages.registry import build_graph
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe.web.pages.video_timeline import Line, lanes
from vidpipe_tests.web.conftest import TALK, SmallLibrary

HOSTILE_TEXT = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}</textarea>"


class Html(HTMLParser):
    """Elements and text of a page, as a browser would find them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.elements if attribute in attributes]


@pytest.fixture(scope="module")
def client(own_library: SmallLibrary) -> Iterator[TestClient]:
    with closing(WebHome(lambda: own_library.settings)) as home:
        yield TestClient(create_app(home), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5000))


@pytest.fixture(scope="module")
def path(own_library: SmallLibrary) -> str:
    """The address of the page."""
    return f"/videos/{own_library.videos[TALK]}"


def shown(client: TestClient, path: str, **params: Any) -> Html:
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return Html(answer.text)


def test_everything_is_in_the_page_without_scripts(client: TestClient, path: str) -> None:
    page = shown(client, path)
    for said in (
        TALK, "What a wonderful, happy lighthouse", "rule “subtitled”", "has subtitles is true (asked: true)",
        "raw_video", "Seaside", "measured, no model looked at it", "From the file’s subtitles.", "0:02",
    ):  # fmt: skip
        assert said in page.text
    assert f"/api/v1{path}/media?download=1" in page.values("href")
    assert "?t=1.200#player" in page.values("href")
    assert len([source for source in page.values("src") if "/thumbnail?scene=" in source]) == 1
    assert f"/api/v1{path}/media#t=0.0" in page.values("src")


def test_time_and_words_of_the_url_are_shown(client: TestClient, path: str) -> None:
    page = shown(client, path, t="1.5", q="boats")
    assert page.values("data-start")[0] == "1.5"
    assert "boat" in page.texts[page.texts.index("A red ") + 1]
    assert "mark" in [tag for tag, _ in page.elements]
    assert '"hits"' in page.values("data-lanes")[0]
    assert "?t=1.200&q=boats#player" in page.values("href")
    assert shown(client, path, scene=0, q="tag:(").values("data-start")[0] == "0.0"


@pytest.mark.parametrize("query", ["t=-1", "t=nan", "scene=x", f"q={'x' * 2001}"])
def test_wrong_parameters_are_problems(client: TestClient, path: str, query: str) -> None:
    assert client.get(f"{path}?{query}").status_code == 422


def test_an_unknown_video_is_a_problem(client: TestClient) -> None:
    assert client.get(f"/videos/{'0' * 64}").status_code == 404


def test_hostile_texts_stay_text(client: TestClient, own_library: SmallLibrary, path: str) -> None:
    sha256, now = own_library.videos[TALK], datetime.now(UTC)
    tag = {"tag": HOSTILE_TEXT, "rule": HOSTILE_TEXT, "given_by": "rule", "block": "", "facet": False,
           "evidence": f"{HOSTILE_TEXT} at 0:00", "confidence": None, "model_tags": [HOSTILE_TEXT]}  # fmt: skip
    line = {"start_s": 0.0, "end_s": 1.0, "text": HOSTILE_TEXT, "language": HOSTILE_TEXT, "confidence": 1.0}
    error = {"message": HOSTILE_TEXT, "hint": HOSTILE_TEXT, "transient": False}
    answer = {"video": sha256, "scope": "video", "start_s": 0.0, "end_s": 1.0, "prompt_id": HOSTILE_TEXT, "at": now,
              "prompt_hash": "", "template": "hostile", "model": HOSTILE_TEXT, "frames_version": "",
              "raw_text": HOSTILE_TEXT, "value": HOSTILE_TEXT}  # fmt: skip
    settings = own_library.settings
    with Library.open(settings, build_graph(settings)) as library:
        rows = library.collections
        rows["videos"].update_one({"_id": sha256}, {"$set": {
            "ingest.labels": [HOSTILE_TEXT], "ingest.names": [HOSTILE_TEXT],
            "ingest.titles": [HOSTILE_TEXT], "metadata.title": HOSTILE_TEXT,
            "description.text": HOSTILE_TEXT, "description.keywords": [HOSTILE_TEXT], "category.reason": HOSTILE_TEXT,
            "tags": [tag], "speech": {"segments": [line], "models": [{"name": HOSTILE_TEXT}], "source": "recognition"},
            "scenes.damage": {"sentence": HOSTILE_TEXT, "messages": [HOSTILE_TEXT]},
            "stages.descriptions.status": "failed", "stages.descriptions.error": error,
        }})  # fmt: skip
        rows["answers"].insert_one({"_id": "hostile", **answer})
        rows["lineage"].insert_one({"_id": "text:hostile", "kind": "text", "text": HOSTILE_TEXT})
        rows["sources"].update_one({"video": sha256}, {"$set": {
            "url": f"javascript:alert(1)//{HOSTILE_TEXT}", "last_error": HOSTILE_TEXT, "title": HOSTILE_TEXT,
        }})  # fmt: skip
    page = shown(client, path, q=HOSTILE_TEXT)
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert all(attributes["src"].startswith("/static/") for attributes in scripts if attributes["src"])
    assert len(scripts) == 2
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith(("on", "style"))]
    assert not [url for url in (*page.values("href"), *page.values("src")) if url.lower().startswith("javascript:")]
    assert not [src for src in page.values("src") if src == "x"]
    assert page.text.count("alert(1)") > 10
    assert page.values("data-tag") == [HOSTILE_TEXT]
    assert "Retry descriptions" in page.text


def test_lanes_join_frames_and_name_what_is_found() -> None:
    seen = [
        {"time_s": time_s, "objects": [{"label": "dog", "confidence": 0.9}], "faces": [{}, {}]} for time_s in (0, 1, 6)
    ]
    found = {
        "scenes": [{"start_s": 0.0, "end_s": 4.0, "index": 0, "description": "a dog"},
                   {"start_s": 4.0, "end_s": 8.0, "index": 1, "description": "a cat"}],
        "scene_summary": {"duration_s": 8.0}, "sentiment": {"read_from": "speech"},
        "objects": {"frames": seen, "frames_examined": 8, "labels": [{"label": "dog", "share": 0.4, "certain": True}]},
        "faces": {"frames": seen, "frames_examined": 8},
    }  # fmt: skip
    said = [Line(0.5, 2.0, "What a wonderful dog!", "en")]
    made = {lane.name: lane.spans for lane in lanes(found, said, [], lambda text, _: "cat" in text)}
    assert list(made) == ["Hits", "Cuts", "Speech", "dog", "Faces", "Sentiment"]
    assert made["dog"] == [(0, 2.0, "dog 90%"), (6, 7.0, "dog 90%")]
    assert made["Faces"][0][2] == "2 faces"
    assert made["Cuts"] == [(4.0, 4.0, "scene 2")]
    assert made["Hits"] == [(4.0, 8.0, "a cat")]
    assert made["Sentiment"][0][3] > 0.3


def test_the_explanations_of_the_page_are_html_of_the_server_in_which_hostile_texts_stay_text(
    client: TestClient, path: str, own_library: SmallLibrary
) -> None:
    with Library.open(own_library.settings, build_graph(own_library.settings)) as library:
        library.collections["videos"].update_one(
            {"_id": own_library.videos[TALK]}, {"$set": {"ingest.names": [HOSTILE_TEXT]}}
        )
    page = client.get(f"{path}/explain")
    assert page.status_code == 200
    assert "lacks" in page.text
    assert not {"script", "textarea"} & {name for name, _ in Html(page.text).elements}
    assert "onerror" not in {name for _, attributes in Html(page.text).elements for name in attributes}
    assert "rule “" in Html(client.get(f"{path}/explain", params={"tag": "Portrait"}).text).text
    assert client.get(f"{path}/explain", params={"tag": "Portrat"}).status_code == 400
