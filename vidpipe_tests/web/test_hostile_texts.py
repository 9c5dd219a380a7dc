"""Whatever a video, a model or a stranger wrote stays text: in pages, in JSON, in exports and in headers."""

from __future__ import annotations

import copy
import csv
import io
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from httpx2 import Response
from pymongo import MongoClient
from starlette.testclient import TestClient

from vidpipe.library.changes import Changes
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
from vidpipe_tests.web.hostile_texts import HOSTILE_TEXTS, harmless

PER_VIDEO = 10
#: {video}: each of the videos; {text}: each of a few texts, as part of an address.
PAGES = (
    "/",
    "/?view=list",
    "/?view=list&limit=500",
    "/?q={text}",
    "/?q=tag:{text}&limit=1",
    "/?filter={text}",
    "/videos/{video}",
    "/review?tag={text}",
    "/add",
    "/status",
    "/settings",
    "/login?next={text}",
    "/{text}",
)
API = (
    "videos?limit=500",
    "videos?q={text}",
    "videos/{video}",
    "videos/{video}/scenes",
    "videos/{video}/explain",
    "videos/{video}/history",
    "videos/{video}/answers",
    "videos/{video}/similar",
    "videos/{video}/playback",
    "videos/{video}/storyboard",
    "search?q={text}",
    "facets",
    "complete?q={text}",
    "verdicts",
    "review?tag={text}",
    "runs",
    "sources",
    "status",
    "stats",
    "failures",
    "settings",
)
FILES = (
    "videos/{video}/media?download=1",
    "videos/{video}/subtitles.vtt",
    "exports?format=jsonl",
    "exports?format=csv",
    "exports?format=csv&scenes=true",
)
#: These are asked for with all texts.
_CHEAP = ("/{text}", "/login?next={text}", "/?q=tag:{text}&limit=1")
_FORMULA = re.compile(r"[\s\0]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_DISPOSITION = re.compile(
    r'(attachment|inline)(; filename="[^"\\]*")?(; filename\*=(UTF|utf)-8\'\'[A-Za-z0-9!#$&+.^_`|~%-]+)?'
)
#: Elements that load, run or send something.
_ACTIVE = {
    "script",
    "style",
    "link",
    "iframe",
    "object",
    "embed",
    "svg",
    "math",
    "form",
    "base",
    "meta",
    "template",
    "portal",
}


@dataclass(frozen=True)
class ServedLibrary:
    """A library of videos that consist of given texts."""

    client: TestClient
    texts: dict[str, list[str]]


def _documents(template: dict[str, list[dict[str, Any]]], number: int, texts: Sequence[str]) -> dict[str, list[Any]]:
    """The documents of a video in which every text that comes from outside is one of `texts`."""
    found = copy.deepcopy(template)
    (video,), sha256 = found["videos"], f"{number:064x}"
    before, video["_id"], video["change_seq"] = video["_id"], sha256, number
    named = list(texts)
    video["ingest"] |= {"names": named, "titles": named, "urls": named, "labels": named}
    video["description"] |= {"text": "\n".join(named), "summary": named[0], "model": named[1], "keywords": named}
    tag = next(one for one in video["tags"] if not one["facet"])
    video["tags"] = [tag | {"tag": text, "rule": text, "evidence": text} for text in named]
    video["category"] |= {"category": named[0], "reason": named[1]}
    video["sentiment"] |= {"reason": named[2]}
    metadata = video["metadata"]
    metadata |= {"title": named[3], "notes": named, "chapters": [{"start_s": 0.0, "end_s": 1.0, "title": named[4]}]}
    metadata["cues"] = [metadata["cues"][0] | {"text": text} for text in named]
    for stream in (*metadata["audio"], *metadata["subtitles"]):
        stream |= {"language": named[5], "title": named[6]}
    video["stages"]["categories"] |= {
        "status": "failed",
        "ready": True,
        "attempts": 1,
        "next_try_at": None,
        "error": {"message": named[7], "hint": named[8], "transient": False},
    }
    for scene in found["scenes"]:
        scene |= {"_id": scene["_id"].replace(before, sha256), "video": sha256, "description": named[9]}
    for index, source in enumerate(found["sources"] * len(named)):
        changes = {
            "_id": f"{number}-{index}",
            "video": sha256,
            "url": named[index],
            "title": named[index],
            "labels": named,
        }
        found["sources"][index:] = [source | changes | {"file_name": named[index], "last_error": named[index]}]
    return found


def _open(settings: Settings, template: dict[str, list[Any]], texts: Sequence[str], held: ExitStack) -> ServedLibrary:
    client = held.enter_context(MongoClient[dict[str, Any]](settings.mongodb.uri.get_secret_value()))
    database, videos = client[settings.mongodb.database_name], {}
    held.callback(client.drop_database, database.name)
    with Library.open(settings, build_graph(settings)) as library:
        for number in Changes(library.collections).take(len(texts) // PER_VIDEO):
            sha256 = f"{number:064x}"
            videos[sha256] = list(texts[len(videos) * PER_VIDEO :][:PER_VIDEO])
            for name, documents in _documents(template, number, videos[sha256]).items():
                database[name].insert_many(documents)
    home = held.enter_context(closing(WebHome(lambda: settings)))
    return ServedLibrary(
        TestClient(create_app(home), "http://127.0.0.1:8000", client=("127.0.0.1", 5000), follow_redirects=False),
        videos,
    )


@pytest.fixture(scope="module")
def libraries(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServedLibrary]]:
    """A library of the hostile texts, and one of the same shape of harmless ones."""
    settings, folder = module_settings, tmp_path_factory.mktemp("clips")
    init_home(settings.home)
    clips.subtitled(folder / "talk.mkv", [(0.2, 1.0, "What a wonderful lighthouse")])
    graph = build_graph(settings)
    with Library.open(settings, graph) as library, closing(Plan.make(graph, settings)) as plan:
        Ingest(settings, library.sources).run(gather([str(folder)]).requests)
        assert not Runner(library, plan).run().failures
        template = {name: list(library.collections[name].find()) for name in ("videos", "scenes", "sources")}
    with ExitStack() as held:
        made = []
        for name, texts in {
            "hostile": HOSTILE_TEXTS, "harmless": [harmless(text, number) for number, text in enumerate(HOSTILE_TEXTS)]
        }.items():  # fmt: skip
            home = init_home(tmp_path_factory.mktemp(name)).home
            shutil.copytree(settings.home / "data" / "media", home / "data" / "media")
            database = settings.mongodb.model_copy(update={"database_name": f"{settings.mongodb.database_name}_{name}"})
            page = settings.library_page.model_copy(update={"requests_per_minute": 0})
            changes = {"home": home, "mongodb": database, "library_page": page}
            made.append(_open(settings.model_copy(update=changes), template, texts, held))
        yield made


def answers(library: ServedLibrary, path: str, texts: Sequence[str], *, every: int = 1) -> list[Response]:
    """The answers at a path for each video and text; none while there is no such page."""
    videos, chosen = list(library.texts)[::every], texts if "{text}" in path else [""]
    found = []
    for video in videos if "{video}" in path else [""]:
        for text in chosen:
            full = path.replace("{video}", video).replace("{text}", quote(text, safe=""))
            found.append(library.client.get(full))
    if {answer.status_code for answer in found} == {404} and path != "/{text}":
        pytest.skip(f"there is no {path} yet")
    return found


class _Elements(HTMLParser):
    """The start tags of a page with the names of their attributes, and the addresses in them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.addresses: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(sorted({name for name, _ in attrs}))))
        names = ("href", "src", "action", "formaction", "poster", "srcset", "data")
        self.addresses += [value or "" for name, value in attrs if name in names]


def _check_headers(response: Response) -> None:
    for name, value in response.headers.multi_items():
        assert re.fullmatch(r"[\x20-\x7e]*", value), (name, value)
    disposition = response.headers.get("content-disposition")
    assert disposition is None or _DISPOSITION.fullmatch(disposition), disposition
    assert set(response.cookies) <= {"vidpipe_csrf"}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_only_elements_of_its_template(path: str, libraries: list[ServedLibrary]) -> None:
    hostile, tame = libraries
    texts = HOSTILE_TEXTS if path in _CHEAP else HOSTILE_TEXTS[::10]
    expected = [
        _Elements(answer.text) for answer in answers(tame, path, ["word1", "https://harmless.test/x", '"', "x:"])
    ]
    known = {element for page in expected for element in page.found}
    active = [[tag for tag, _ in page.found if tag in _ACTIVE] for page in expected]
    for response in answers(hostile, path, texts):
        assert response.status_code < 500
        _check_headers(response)
        page = _Elements(response.text)
        assert set(page.found) <= known, set(page.found) - known
        assert not any(name.startswith("on") or name == "style" for _, names in page.found for name in names)
        assert [tag for tag, _ in page.found if tag in _ACTIVE] in active
        for address in page.addresses:
            assert re.match(r"(https?:/|/(?![/\\])|\?|#|blob:|$)", address), address


@pytest.mark.parametrize("path", API)
def test_json_carries_every_text_as_it_is(path: str, libraries: list[ServedLibrary]) -> None:
    hostile, _ = libraries
    for response in answers(hostile, f"/api/v1/{path}", HOSTILE_TEXTS[::10]):
        assert response.status_code < 500, response.text
        assert response.headers["content-type"] in ("application/json", "application/problem+json")
        _check_headers(response)
        found = json.loads(response.text)
        if path == "videos/{video}" and response.status_code == 200:
            texts = set(hostile.texts[response.url.path.rpartition("/")[2]])
            assert texts <= _strings(found), texts - _strings(found)


def _strings(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {text for entry in entries for text in _strings(entry)}


@pytest.mark.parametrize("path", FILES)
def test_files_and_their_names_do_nothing(path: str, libraries: list[ServedLibrary]) -> None:
    hostile, tame = libraries
    cues = {answer.text.count(" --> ") for answer in answers(tame, f"/api/v1/{path}", ())} if ".vtt" in path else set()
    for response in answers(hostile, f"/api/v1/{path}", ()):
        assert response.status_code == 200, response.text
        _check_headers(response)
        assert "html" not in response.headers["content-type"]
        assert "svg" not in response.headers["content-type"]
        if "format=csv" in path:
            rows = list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"), newline="")))
            assert len(rows) > len(hostile.texts)
            for cell in (cell for row in rows for cell in row):
                assert not _FORMULA.match(cell) or re.fullmatch(r"-?[0-9.e+-]+", cell), cell
        if "format=jsonl" in path:
            assert len([json.loads(line) for line in response.text.split("\n") if line]) == len(hostile.texts)
        if ".vtt" in path:
            assert response.text.startswith("WEBVTT")
            assert response.text.count(" --> ") in cues
            assert not re.search(r"<(?!/?[cibuv]\b|\d\d:)", response.text)


@pytest.mark.parametrize("surrogate", ["\ud800", "a\udfffb"])
def test_half_a_character_is_refused(surrogate: str, libraries: list[ServedLibrary]) -> None:
    client = libraries[0].client
    encoded = quote(surrogate.encode("utf-8", "surrogatepass"))
    for path in (f"/?q={encoded}", f"/api/v1/videos?q={encoded}", f"/{encoded}", f"/login?next={encoded}"):
        assert client.get(path).status_code < 500, path
    client.cookies.clear()
    body = json.dumps({"key": surrogate}).encode()
    refused = client.post("/api/v1/session", content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code in (401, 422)


def test_there_are_two_hundred_texts() -> None:
    assert len(set(HOSTILE_TEXTS)) == 200
    assert Path(__file__).with_name("hostile_texts.py").stat().st_size < 20_000
