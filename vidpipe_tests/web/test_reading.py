"""What the API says of a library of real clips, and that commands and pages say the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from vidpipe.library.queries.json_encoding import to_json
from vidpipe.library.queries.show import view
from vidpipe.web.app import create_app
from vidpipe.web.home import OpenHome, WebHome
from vidpipe_tests.web.conftest import CUTS, HOSTILE, TALK, SmallLibrary

UNKNOWN = "/videos/" + "0" * 64


@pytest.fixture(scope="module")
def home(small_library: SmallLibrary) -> Iterator[WebHome]:
    with closing(WebHome(lambda: small_library.settings)) as home:
        yield home


@pytest.fixture(scope="module")
def api(home: WebHome) -> TestClient:
    """The API, asked by this machine."""
    return TestClient(create_app(home), base_url="http://127.0.0.1:8000/api/v1", client=("127.0.0.1", 5000))


@pytest.fixture
def opened(home: WebHome) -> OpenHome:
    return home.opened()


@pytest.fixture(scope="module")
def talk(small_library: SmallLibrary) -> str:
    return f"/videos/{small_library.videos[TALK]}"


@pytest.fixture(scope="module")
def cuts(small_library: SmallLibrary) -> str:
    return f"/videos/{small_library.videos[CUTS]}"


def test_a_page_of_videos_has_items_facets_total_and_next(api: TestClient, small_library: SmallLibrary) -> None:
    page = api.get("/videos", params={"limit": 3}).json()
    rest = api.get("/videos", params={"limit": 3, "after": page["next"]}).json()
    assert page["total"] == rest["total"] == 4
    assert page["facets"]["label"] == {"Seaside": 4}
    found = [item["video"] for item in (*page["items"], *rest["items"])]
    assert sorted(found) == sorted(small_library.videos.values())
    assert rest["next"] is None


def test_videos_and_search_answer_the_same_items(api: TestClient) -> None:
    asked = {"q": "lighthouse", "filter": "label:Seaside"}
    assert api.get("/videos", params=asked).json()["items"] == api.get("/search", params=asked).json()["items"]


def test_a_hit_says_where_it_is(api: TestClient) -> None:
    (hit,) = api.get("/search", params={"q": "wonderful", "moments": True}).json()["items"]
    assert (hit["name"], hit["matched_in"], hit["start_s"]) == (TALK, "said", 0.2)
    assert [hit["text"][start:end] for start, end in hit["highlights"]] == ["wonderful"]


def test_search_corrects_words_and_reports_what_is_no_query(api: TestClient) -> None:
    assert api.get("/search", params={"q": "lighthose"}).json()["did_you_mean"] == "lighthouse"
    refused = api.get("/search", params={"q": "tag:(dark"})
    assert refused.status_code == 400
    assert "not closed" in refused.json()["detail"]


def test_facets_count_what_a_page_finds(api: TestClient) -> None:
    asked = {"filter": 'tag:"Portrait"'}
    assert api.get("/facets", params=asked).json()["facets"] == api.get("/videos", params=asked).json()["facets"]
    assert api.get("/facets", params=asked).json()["total"] == 1


def test_a_video_is_what_show_writes(api: TestClient, opened: OpenHome, cuts: str) -> None:
    sha256 = cuts.rpartition("/")[2]
    answer = api.get(cuts)
    assert answer.content == to_json(view(opened.library, sha256, opened.plan.specs))
    assert [scene["index"] for scene in api.get(f"{cuts}/scenes").json()["items"]] == [0, 1, 2]


def test_tags_are_explained_by_rules(api: TestClient, cuts: str) -> None:
    reasons = api.get(f"{cuts}/explain").json()
    matched = {tag for rule in reasons["rules"] if rule["matched"] for tag in rule["gives"]}
    assert {tag["tag"] for tag in api.get(cuts).json()["tags"]} <= matched
    assert not reasons["stored_are_out_of_date"]


def test_an_explanation_of_one_tag_says_also_why_it_is_not_there(api: TestClient, cuts: str) -> None:
    reasons = api.get(f"{cuts}/explain", params={"tag": "Portrait"}).json()
    ((tag,), rules) = reasons["tags"], reasons["rules"]
    assert (tag["tag"], tag["stored"], tag["since"]) == ("Portrait", False, None)
    assert {rule["rule"] for rule in rules} >= {tag["rule"]}
    assert all(rule["lacking"] for rule in rules)
    unknown = api.get(f"{cuts}/explain", params={"tag": "Portrat"})
    assert unknown.status_code in (400, 422)
    assert "Did you mean Portrait" in unknown.text


def test_history_is_paged_from_the_newest(api: TestClient, talk: str) -> None:
    whole = api.get(f"{talk}/history", params={"limit": 500}).json()["items"]
    pages, after = [], None
    while True:
        page = api.get(f"{talk}/history", params={"limit": 2, "after": after} if after else {"limit": 2}).json()
        pages += page["items"]
        if not (after := page["next"]):
            break
    assert pages == whole
    times = [datetime.fromisoformat(entry["at"]) for entry in whole]
    assert times == sorted(times, reverse=True)
    assert {("tag", "added"), ("commit", None)} <= {(entry["kind"], entry.get("change")) for entry in whole}


def test_what_is_unknown_or_no_hash_is_a_problem(api: TestClient) -> None:
    for path in ("", "/scenes", "/explain", "/history", "/answers", "/similar", "/thumbnail", "/frame?t=0", "/media"):
        answer = api.get(UNKNOWN + path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert api.get("/videos/not-a-hash").status_code == 422
    assert api.get(f"{UNKNOWN}/history", params={"after": "?"}).status_code == 404


def test_what_is_similar_needs_the_analysis_meaning(api: TestClient, talk: str) -> None:
    answer = api.get(f"{talk}/similar")
    assert answer.status_code == 409
    assert "meaning" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "text", "kind", "start"),
    [
        ("ta", "tag:", "field", 0),
        ("tag:port", "tag:Portrait", "tag", 0),
        ('boat tag:"stand', 'tag:"Standard Definition"', "tag", 5),
        ("tag:defin", 'tag:"Standard Definition"', "tag", 0),
        ("(label:(sea", "label:Seaside", "label", 8),
        ("-port", "tag:Portrait", "tag", 1),
        ("state:cur", "state:current", "state", 0),
        ("red lighth", "lighthouse", "word", 4),
        ("said:won", "wonderful", "word", 5),
    ],
)
def test_the_end_of_a_query_is_completed(api: TestClient, query: str, text: str, kind: str, start: int) -> None:
    items = api.get("/complete", params={"q": query}).json()["items"]
    assert (text, kind, start) in [(item["text"], item["kind"], item["start"]) for item in items]


@pytest.mark.parametrize("query", ['tag:"Portrait"', "duration:", "scene:wonderf", "saved:none", '"\\'])
def test_nothing_is_made_up_for_what_has_no_completion(api: TestClient, query: str) -> None:
    assert api.get("/complete", params={"q": query}).json()["items"] == []


def test_a_completed_query_is_one(api: TestClient) -> None:
    for begun in ("tag:", "label:", "resolution:", "codec:", "language:", "category:"):
        for item in api.get("/complete", params={"q": begun}).json()["items"]:
            assert api.get("/videos", params={"q": item["text"]}).json()["total"] == item["count"]


def test_saved_searches_are_completed(api: TestClient, opened: OpenHome) -> None:
    opened.library.collections["searches"].insert_one({"_id": "seaside", "query": "label:Seaside", "saved_at": None})
    (item,) = api.get("/complete", params={"q": "saved:sea"}).json()["items"]
    assert (item["text"], item["help"]) == ("saved:seaside", "label:Seaside")


def test_thumbnails_may_be_kept_where_the_url_names_their_version(api: TestClient, talk: str) -> None:
    (item,) = api.get("/videos", params={"q": "file:lighthouse"}).json()["items"]
    kept = api.get(item["thumbnail_url"].removeprefix("/api/v1"))
    assert (kept.headers["content-type"], kept.content[:2]) == ("image/jpeg", b"\xff\xd8")
    assert "immutable" in kept.headers["cache-control"]
    assert "immutable" not in api.get(f"{talk}/thumbnail").headers["cache-control"]
    assert api.get(f"{talk}/thumbnail", headers={"If-None-Match": kept.headers["etag"]}).status_code == 304


def test_every_scene_has_a_thumbnail_and_the_nearest_frame_is_sent(api: TestClient, cuts: str) -> None:
    pictures = {api.get(f"{cuts}/thumbnail", params={"scene": scene}).content for scene in range(3)}
    frames = {api.get(f"{cuts}/frame", params={"t": time_s}).content for time_s in (0, 1.5, 999)}
    assert len(pictures) == len(frames) == 3
    assert api.get(f"{cuts}/thumbnail", params={"scene": 3}).status_code == 404


def test_a_path_outside_the_home_is_not_sent(api: TestClient, opened: OpenHome, cuts: str, tmp_path: Path) -> None:
    videos, sha256 = opened.library.collections["videos"], cuts.rpartition("/")[2]
    before = videos.find_one({"_id": sha256})
    assert before is not None
    (tmp_path / "secret").write_text("secret")
    paths = ("scenes.poster", "scenes.pack.path", "raw_video.path", "ingest.path")
    videos.update_one({"_id": sha256}, {"$set": dict.fromkeys(paths, str(tmp_path / "secret"))})
    try:
        for path in ("/thumbnail", "/frame?t=0", "/media"):
            assert api.get(cuts + path).status_code == 404
    finally:
        videos.replace_one({"_id": sha256}, before)


@pytest.mark.parametrize(
    ("asked", "status", "sent"),
    [
        ({}, 200, slice(None)),
        ({"Range": "bytes=2-5"}, 206, slice(2, 6)),
        ({"Range": "bytes=10-"}, 206, slice(10, None)),
        ({"Range": "bytes=-7"}, 206, slice(-7, None)),
        ({"Range": "bytes=0-1,4-5"}, 200, slice(None)),
        ({"Range": "bytes=2-5", "If-Range": '"another"'}, 200, slice(None)),
        ({"Range": "bytes=999999999-"}, 416, None),
        ({"Range": "bytes=5-2"}, 416, None),
        ({"Range": "bytes=-0"}, 416, None),
        ({"Range": "lines=1-2"}, 416, None),
    ],
)
def test_media_are_sent_in_ranges(
    api: TestClient, opened: OpenHome, talk: str, *, asked: dict[str, str], status: int, sent: slice | None
) -> None:
    content = opened.settings.resolve(api.get(talk).json()["video"]["path"]).read_bytes()
    answer = api.get(f"{talk}/media", headers=asked)
    assert answer.status_code == status
    if sent is None:
        assert answer.headers["content-range"] == f"bytes */{len(content)}"
        assert answer.json()["status"] == 416
    else:
        assert answer.content == content[sent]
        assert (answer.headers["content-type"], answer.headers["accept-ranges"]) == ("video/x-matroska", "bytes")
        assert answer.headers["etag"] == f'"{talk.rpartition("/")[2]}"'


def test_a_range_is_sent_if_the_file_is_the_same(api: TestClient, talk: str) -> None:
    head = api.head(f"{talk}/media")
    assert (head.status_code, head.content) == (200, b"")
    same = api.get(f"{talk}/media", headers={"Range": "bytes=0-3", "If-Range": head.headers["etag"]})
    assert same.status_code == 206


def test_a_download_has_a_safe_name(api: TestClient, small_library: SmallLibrary) -> None:
    answer = api.get(f"/videos/{small_library.videos[HOSTILE]}/media", params={"download": True})
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment; filename*=utf-8''")
    assert not set('<>"\\/ ') & set(disposition.partition("''")[2])


def test_a_file_that_another_one_replaced_is_not_sent(api: TestClient, opened: OpenHome, cuts: str) -> None:
    videos, sha256 = opened.library.collections["videos"], cuts.rpartition("/")[2]
    before = videos.find_one({"_id": sha256})
    assert before is not None
    other = {"ingest.path": "/etc/hostname", "raw_video.path": "/etc/hostname", "ingest.referenced": True}
    videos.update_one({"_id": sha256}, {"$set": other})
    try:
        assert api.get(f"{cuts}/media").status_code == 409
    finally:
        videos.replace_one({"_id": sha256}, before)


def test_a_missing_file_is_a_problem(api: TestClient, opened: OpenHome, cuts: str) -> None:
    path = opened.settings.resolve(api.get(cuts).json()["video"]["path"])
    aside = path.rename(path.with_suffix(".aside"))
    try:
        answer = api.get(f"{cuts}/media")
        assert answer.status_code == 404
        assert answer.json()["hint"]
    finally:
        aside.rename(path)


def test_subtitles_are_what_is_said(api: TestClient, talk: str, cuts: str) -> None:
    answer = api.get(f"{talk}/subtitles.vtt")
    assert answer.headers["content-type"] == "text/vtt; charset=utf-8"
    first, second = answer.text.removeprefix("WEBVTT\n\n").strip().split("\n\n")
    assert first == "00:00:00.200 --> 00:00:01.000\nWhat a wonderful, happy lighthouse"
    assert second.endswith("A red boat")
    assert api.get(f"{cuts}/subtitles.vtt").text == "WEBVTT\n"


def test_the_api_is_described_for_people(api: TestClient) -> None:
    page = api.get("http://127.0.0.1:8000/api/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "/api/v1/videos/{sha256}/media" in page.text
    assert "<script>" not in page.text
