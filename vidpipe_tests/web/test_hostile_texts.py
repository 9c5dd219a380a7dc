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
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from httpx2 import Response
from pymongo import MongoClient
from starlette.testclient import TestClient

from vidpipe.library.changes import Changes
from vidpipe.library.library import Library
from vidpipe.settings import Settings, init_home
from vidpipe.stages.registry import build_graph
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe.web.jobs import Job, RunningJob
from vidpipe_tests.operations.serving_page import serving
from vidpipe_tests.web.conftest import TALK, SmallLibrary
from vidpipe_tests.web.hostile_texts import HOSTILE_TEXTS, harmless

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PER_VIDEO = 10
#: {video}: each of the videos, and of the jobs, which have the same ids; {text}: some of the texts, all in soak.
PAGES = (
    "/",
    "/?view=list&limit=500",
    "/?q={text}",
    "/?q=tag:{text}&moments=true&limit=1",
    "/?filter={text}",
    "/videos/{video}",
    "/videos/{video}?q={text}&t=0.5",
    "/videos/{video}/explain",
    "/videos/{video}/explain?tag={text}",
    "/review",
    "/review?tag={text}",
    "/rules",
    "/duplicates",
    "/rules/edit",
    "/rules/edit?rule={text}",
    "/rules/history",
    "/rules/plan/{video}",
    "/add",
    "/add?run={text}",
    "/status",
    "/settings",
    "/settings?file=custom_tags.json",
    "/login?next={text}",
    "/api/docs",
    "/{text}",
)
API = (
    "health",
    "session",
    "videos?limit=500",
    "videos?q={text}",
    "videos/{video}",
    "videos/{video}/scenes",
    "videos/{video}/explain",
    "videos/{video}/explain?tag={text}",
    "videos/{video}/history",
    "videos/{video}/answers",
    "videos/{video}/similar",
    "videos/{video}/playback",
    "videos/{video}/storyboard",
    "search?limit=500&moments=true",
    "search?q={text}",
    "facets",
    "complete?q={text}",
    "complete?q=tag:",
    "duplicates",
    "duplicates/distinct",
    "verdicts?limit=500",
    "verdicts?tag={text}",
    "review?tag={text}",
    "review/tags",
    "runs",
    "runs/{video}",
    "runs/{text}",
    "sources?limit=500",
    "status",
    "stats",
    "failures",
    "settings",
    "settings/files/custom_tags.json",
    "rules/report",
    "rules/versions",
)
FILES = (
    "videos/{video}/thumbnail",
    "videos/{video}/frame?t=0.5",
    "videos/{video}/media?download=1",
    "videos/{video}/subtitles.vtt",
    "videos/{video}/storyboard.jpg",
    "videos/{video}/storyboard.vtt",
    "videos/{video}/proxy",
    "runs/{video}/events",
    "exports?format=jsonl",
    "exports?format=csv",
    "exports?format=csv&scenes=true",
    "exports?format=parquet",
)
_FORMULA = re.compile(r"[\s\0]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_TIMES = re.compile(r"[\d:.]+ --> [\d:.]+")
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
                library.collections[name].insert_many(documents)
        verdicts = library.verdicts
        for sha256, named in videos.items():
            for text in named:
                verdicts.put(sha256, text, "yes", text)
    app = create_app(held.enter_context(closing(WebHome(lambda: settings))))
    for sha256, named in videos.items():
        job = Job(id=sha256, kind="add", created_at=datetime.now(UTC), by=named[0])
        app.state.jobs.jobs[sha256] = running = RunningJob(job, "")
        running._receive("source", {"input": named[0], "name": named[1], "error": named[2], "hint": named[3]})
        error = {"message": named[4], "hint": named[5]}
        running.end({"state": "failed", "error": error, "result": {"texts": named}})
    client = TestClient(app, "http://127.0.0.1:8000", client=("127.0.0.1", 5000), follow_redirects=False)
    return ServedLibrary(client, videos)


@pytest.fixture(scope="module")
def libraries(small_library: SmallLibrary, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServedLibrary]]:
    """A library of the hostile texts, and one of the same shape of harmless ones."""
    settings, talk = small_library.settings, small_library.videos[TALK]
    with Library.open(settings, build_graph(settings)) as library:
        template = {
            name: list(library.collections[name].find({"_id" if name == "videos" else "video": talk}))
            for name in ("videos", "scenes", "sources")
        }
    tame = [harmless(text, number) for number, text in enumerate(HOSTILE_TEXTS)]
    with ExitStack() as held:
        made = []
        for name, texts in {"hostile": HOSTILE_TEXTS, "harmless": tame}.items():
            home = init_home(tmp_path_factory.mktemp(name)).home
            for stored in ("media", "derived"):
                shutil.copytree(settings.home / "data" / stored, home / "data" / stored)
            database = settings.mongodb.model_copy(update={"database_name": f"{settings.mongodb.database_name}_{name}"})
            page = settings.library_page.model_copy(update={"requests_per_minute": 0})
            changes = {"home": home, "mongodb": database, "library_page": page}
            made.append(_open(settings.model_copy(update=changes), template, texts, held))
        yield made


def addresses(library: ServedLibrary, path: str, texts: Sequence[str]) -> Iterator[str]:
    """The addresses at a path: those of all videos, or with each text."""
    videos = list(library.texts) if "{video}" in path else [""]
    chosen = texts if "{text}" in path else [""]
    pairs = zip(cycle(videos), chosen, strict=False) if len(chosen) > 1 else product(videos, chosen)
    return (path.replace("{video}", video).replace("{text}", quote(text, safe="")) for video, text in pairs)


def some_texts(path: str, paths: Sequence[str]) -> Sequence[str]:
    """Ten of the texts, others for each path."""
    return HOSTILE_TEXTS[paths.index(path) :: 20]


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


@pytest.fixture(scope="module")
def templates(libraries: list[ServedLibrary]) -> list[_Elements]:
    """Pages of harmless texts, with all that a template may show."""
    _, tame = libraries
    texts = ["word1", "https://harmless.test/x", '"', "x:"]
    wanted = [(path, text) for path in PAGES for text in (texts if "{text}" in path else [""])]
    paths = [address for path, text in wanted for address in addresses(tame, path, [text])]
    return [_Elements(tame.client.get(path).text) for path in (*paths, "/?limit=1", "/review?limit=0")]


def _check_page(response: Response, templates: list[_Elements]) -> None:
    assert response.status_code < 500
    _check_headers(response)
    page, known = _Elements(response.text), {element for page in templates for element in page.found}
    assert set(page.found) <= known, (str(response.url), set(page.found) - known)
    assert not any(name.startswith("on") or name == "style" for _, names in page.found for name in names)
    active = [[tag for tag, _ in page.found if tag in _ACTIVE] for page in templates]
    assert [tag for tag, _ in page.found if tag in _ACTIVE] in active
    for address in page.addresses:
        assert re.match(r"(https?:/|/(?![/\\])|\?|#|blob:|$)", address), address


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_only_elements_of_its_template(
    path: str, libraries: list[ServedLibrary], templates: list[_Elements]
) -> None:
    hostile, _ = libraries
    for address in addresses(hostile, path, some_texts(path, PAGES)):
        _check_page(hostile.client.get(address), templates)


@pytest.mark.parametrize("path", API)
def test_json_carries_every_text_as_it_is(path: str, libraries: list[ServedLibrary]) -> None:
    hostile, _ = libraries
    for address in addresses(hostile, f"/api/v1/{path}", some_texts(path, API)):
        _check_json(hostile, hostile.client.get(address))


def _check_json(library: ServedLibrary, response: Response) -> None:
    assert response.status_code < 500, response.text
    assert response.headers["content-type"] in ("application/json", "application/problem+json")
    _check_headers(response)
    found, (parent, _, name) = json.loads(response.text), response.url.path.rpartition("/")
    if parent in ("/api/v1/videos", "/api/v1/runs") and name in library.texts:
        texts = set(library.texts[name])
        assert texts <= _strings(found), texts - _strings(found)


@pytest.mark.soak
@pytest.mark.parametrize("path", [path for path in PAGES if "{text}" in path])
def test_a_page_has_only_elements_of_its_template_whatever_its_address(
    path: str, libraries: list[ServedLibrary], templates: list[_Elements]
) -> None:
    for address in addresses(libraries[0], path, HOSTILE_TEXTS):
        _check_page(libraries[0].client.get(address), templates)


@pytest.mark.soak
@pytest.mark.parametrize("path", [path for path in API if "{text}" in path])
def test_json_is_json_whatever_its_address(path: str, libraries: list[ServedLibrary]) -> None:
    for address in addresses(libraries[0], f"/api/v1/{path}", HOSTILE_TEXTS):
        response = libraries[0].client.get(address)
        if not response.is_redirect:  # an address with a slash at its end leads to the one without
            _check_json(libraries[0], response)


@pytest.mark.soak
def test_nothing_runs_in_a_browser(libraries: list[ServedLibrary], browser: Browser) -> None:
    hostile, said = libraries[0], []
    with serving(hostile.client.app) as port, closing(browser.new_context()) as context:
        page = context.new_page()
        page.on("console", lambda one: said.append(one.text) if "Content Security Policy" in one.text else None)
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: said.append(str(error)))
        for path in PAGES:
            for address in list(addresses(hostile, path, some_texts(path, PAGES)))[:20]:
                page.goto(f"http://127.0.0.1:{port}{address}", wait_until="networkidle")
                assert page.url.startswith(f"http://127.0.0.1:{port}/"), page.url
                assert said == [], address


def test_every_page_and_every_get_is_among_them(libraries: list[ServedLibrary]) -> None:
    app: Any = libraries[0].client.app
    documented = {path for path, methods in app.openapi()["paths"].items() if "get" in methods}
    included = (route.original_router for route in app.routes if hasattr(route, "original_router"))
    served = {route.path for router in included for route in router.routes if hasattr(route, "path")}
    shapes = {path: re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path)) for path in documented | served}
    ours = [one.partition("?")[0] for one in (*PAGES, *(f"/api/v1/{one}" for one in (*API, *FILES)))]
    assert [path for path, shape in shapes.items() if not any(re.fullmatch(shape, one) for one in ours)] == []


def _strings(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {text for entry in entries for text in _strings(entry)}


@pytest.mark.parametrize("path", FILES)
def test_files_and_their_names_do_nothing(path: str, libraries: list[ServedLibrary]) -> None:
    hostile, _ = libraries
    for response in map(hostile.client.get, addresses(hostile, f"/api/v1/{path}", ())):
        assert response.status_code == (404 if path.endswith("/proxy") else 200), response.text
        _check_headers(response)
        assert not re.search("html|svg|xml", response.headers["content-type"])
        if "format=csv" in path:
            rows = list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"), newline="")))
            assert len(rows) == len(hostile.texts) + 1
            for cell in (cell for row in rows for cell in row):
                assert not _FORMULA.match(cell) or re.fullmatch(r"-?[0-9.e+-]+", cell), cell
        if "format=jsonl" in path:
            assert len([json.loads(line) for line in response.text.split("\n") if line]) == len(hostile.texts)
        if ".vtt" in path:
            assert response.text.startswith("WEBVTT\n")
            assert all(_TIMES.fullmatch(line) for line in response.text.split("\n") if "-->" in line)
            assert not re.search(r"<(?!/?[cibuv]\b|\d\d:)", response.text)
        if "/events" in path:
            lines = [line for line in response.text.split("\n") if line]
            assert {line.partition(":")[0] for line in lines} == {"event", "data", "id"}
            assert {line for line in lines if line.startswith("event")} == {"event: source", "event: job"}


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
