"""What people do with videos: labels, verdicts on their tags, exports, removal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from vidpipe.library.library import Library
from vidpipe.operations.retention.video_removal import forget
from vidpipe.settings import Settings
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests.library import sample_library
from vidpipe_tests.library.sample_library import CONTENTS, GRAPH, fill, sha256_of

RACE, HARBOUR = sha256_of("race.mkv"), sha256_of("harbour.mp4")
API = "/api/v1"


@pytest.fixture(scope="module")
def library(module_settings: Settings) -> Iterator[Library]:
    with Library.open(module_settings, GRAPH) as opened:
        fill(opened)
        yield opened


@pytest.fixture(scope="module")
def page(library: Library) -> Iterator[TestClient]:
    home = WebHome(lambda: library.settings)
    with TestClient(create_app(home), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5000)) as client:
        yield client
    home.close()


def relabel(page: TestClient, **change: Any) -> int:
    answer = page.post(f"{API}/labels", json=change)
    assert answer.status_code == 200, answer.text
    changed: int = answer.json()["changed"]
    return changed


def labels(library: Library, video: str) -> list[str]:
    found = library.collections["videos"].find_one({"_id": video}, {"ingest.labels": 1})
    assert found is not None
    return list(found["ingest"]["labels"])


def test_labels_belong_to_sources_and_search_finds_them_at_once(page: TestClient, library: Library) -> None:
    before = library.changes.state().seq
    assert relabel(page, videos=[RACE, HARBOUR], add=["  To do "]) == 2
    assert library.changes.state().seq > before, "the change is numbered"
    assert "To do" in labels(library, RACE)
    source = library.collections["sources"].find_one({"video": RACE})
    assert source is not None
    assert source["labels"] == ["Motor sport", "=1+1", "To do"]
    assert page.get(f"{API}/videos", params={"filter": 'label:"To do"'}).json()["total"] == 2
    assert relabel(page, videos=[RACE], add=["TO DO"]) == 0, "it has that label"
    selection = {"filters": ['label:"to do"']}
    assert relabel(page, selection=selection, remove=["to DO", "absent"]) == 2
    assert labels(library, RACE) == ["=1+1", "Motor sport"]
    assert page.get(f"{API}/videos", params={"filter": 'label:"To do"'}).json()["total"] == 0


def test_a_label_that_an_earlier_source_gave_can_be_removed(page: TestClient, library: Library) -> None:
    sources = library.collections["sources"]
    sources.update_one({"video": HARBOUR}, {"$set": {"earlier_videos": [RACE], "labels": ["old"]}})
    library.sources.annotate([RACE, HARBOUR])
    assert "old" in labels(library, RACE)
    relabel(page, videos=[RACE], remove=["old"])
    assert "old" not in labels(library, RACE) + labels(library, HARBOUR)


@pytest.mark.parametrize("change", [
    {"videos": [RACE]}, {"add": ["x"]}, {"videos": [RACE], "selection": {}, "add": ["x"]},
    {"videos": ["race"], "add": ["x"]},
    {"videos": [RACE], "add": [" "]}, {"videos": [RACE], "add": ["a\nb"]}, {"videos": [RACE], "add": ["a" * 201]},
    {"videos": [RACE] * 10_001, "add": ["x"]},
])  # fmt: skip
def test_a_wrong_change_is_refused(page: TestClient, change: dict[str, Any]) -> None:
    assert page.post(f"{API}/labels", json=change).status_code == 422


def test_an_export_is_a_download_of_what_the_search_finds(page: TestClient, library: Library) -> None:
    answer = page.get(f"{API}/exports", params={"format": "csv"})
    assert answer.headers["content-disposition"].startswith('attachment; filename="vidpipe-videos-')
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["video"] for row in rows} == {sha256_of(name) for name in CONTENTS}
    assert not [cell for row in rows for cell in row.values() if cell[:1] in "=+@" and cell], "no formulas"
    lines = page.get(f"{API}/exports", params={"format": "jsonl", "filter": "tag:Fast-paced"}).text.splitlines()
    assert [json.loads(line)["video"]["sha256"] for line in lines] == [RACE]
    scenes = page.get(f"{API}/exports", params={"format": "parquet", "scenes": "true", "q": "lighthouse"})
    assert pq.read_table(io.BytesIO(scenes.content)).num_rows == 2
    assert list((library.settings.data_directory / "run" / "exports").iterdir()) == [], "nothing is left on disk"


def test_a_dry_run_lists_what_would_be_removed(page: TestClient, library: Library) -> None:
    found = page.post(f"{API}/forget", json={"videos": [RACE], "dry_run": True}).json()
    assert [(one["video"], one["state"], one["sources"]) for one in found["videos"]] == [(RACE, "forgotten", 1)]
    assert library.videos.get(RACE) is not None
    assert page.post(f"{API}/forget", json={"dry_run": True}).status_code == 422
    gone = page.post(f"{API}/forget", json={"videos": ["f" * 64], "dry_run": True}).json()
    assert gone["videos"] == [], "nobody has to wait for what is not there any more"


@pytest.fixture(autouse=True)
def _no_verdicts(library: Library) -> None:
    library.collections["verdicts"].delete_many({})
    library.verdicts.repair()
    for name in ("race.mkv", "harbour.mp4"):  # not the tags of the real rules
        given = [tag.model_dump() for tag in sample_library._tags(name).tags]
        library.collections["videos"].update_one({"_id": sha256_of(name)}, {"$set": {"tags": given}})


def put(page: TestClient, video: str, tag: str, verdict: str | None) -> str | None:
    answer = page.put(f"{API}/verdicts", json={"video": video, "tag": tag, "verdict": verdict})
    assert answer.status_code == 200, answer.text
    previous: str | None = answer.json()["previous"]
    return previous


def test_a_verdict_is_saved_with_who_when_and_the_rule_and_the_previous_one_undoes_it(page: TestClient) -> None:
    assert put(page, RACE, "Fast-paced", "no") is None
    (saved,) = page.get(f"{API}/verdicts").json()["items"]
    assert (saved["verdict"], saved["by"], saved["rule"]) == ("no", "this machine", "fast-paced")
    assert saved["spec"]
    assert put(page, RACE, "fast paced", "yes") == "no", "the same tag in another spelling"
    assert put(page, RACE, "Fast-paced", "no") == "yes"
    assert put(page, RACE, "Fast-paced", None) == "no"
    assert page.get(f"{API}/verdicts").json() == {"items": [], "next": None}


def test_a_tag_that_the_video_lacks_can_be_judged_and_an_unknown_video_cannot(page: TestClient) -> None:
    put(page, RACE, "Sea", "yes")
    assert page.get(f"{API}/verdicts?tag=sea").json()["items"][0]["rule"] is None
    assert page.put(f"{API}/verdicts", json={"video": "0" * 64, "tag": "Sea", "verdict": "yes"}).status_code == 404
    for wrong in ({"tag": " "}, {"tag": "a\x1b[2J"}, {"tag": "a" * 201}, {"verdict": "maybe"}, {"video": "race"}):
        body = {"video": RACE, "tag": "Sea", "verdict": "yes", **wrong}
        assert page.put(f"{API}/verdicts", json=body).status_code == 422


def test_a_verdict_on_a_category_or_scene_has_a_note_and_is_a_fact_of_its_video(
    page: TestClient, library: Library
) -> None:
    said = {"video": HARBOUR, "tag": "Sea", "verdict": "yes", "note": "=the sea"}
    for more in ({}, {"kind": "category"}, {"start_s": 201.5}):
        answer = page.put(f"{API}/verdicts", json={**said, **more})
        assert answer.status_code == 200, answer.text
        assert (answer.json()["previous"], answer.json()["applied"]) == (None, True)
    items = page.get(f"{API}/verdicts").json()["items"]
    assert {(one["kind"], one["start_s"], one["note"]) for one in items} == {
        ("tag", None, "=the sea"), ("category", None, "=the sea"), ("tag", 200.0, "=the sea"),
    }  # fmt: skip
    facts = (library.videos.get(HARBOUR) or {})["ingest"]["verdicts"]
    assert [(one["kind"], one["start_s"]) for one in facts] == [("tag", None), ("category", None), ("tag", 200.0)]
    assert page.get(f"{API}/review/tags").status_code == 200
    for wrong in ({"start_s": -1}, {"start_s": "x"}, {"note": "a\x1b[2J"}, {"kind": "mood"}, {"by": "somebody else"}):
        assert page.put(f"{API}/verdicts", json={**said, **wrong}).status_code == 422
    beyond = page.put(f"{API}/verdicts", json={**said, "start_s": 1e9})
    assert (beyond.status_code // 100, "no scene at" in beyond.text) == (4, True)


def test_pages_of_verdicts_have_each_once(page: TestClient) -> None:
    for video in (RACE, HARBOUR):
        for tag in ("Sea", "Land", "Air"):
            put(page, video, tag, "no" if tag == "Air" else "yes")
    for query in ("", "&tag=Sea", "&verdict=no"):
        seen: list[tuple[str, str]] = []
        after: str | None = ""
        while after is not None:
            found = page.get(f"{API}/verdicts", params=f"limit=1&after={after}{query}").json()
            seen += [(one["video"], one["tag"]) for one in found["items"]]
            after = found["next"]
        assert len(seen) == len(set(seen)) == {"": 6, "&tag=Sea": 2, "&verdict=no": 2}[query]


def test_the_contact_sheet_has_the_videos_with_the_tag_and_counts_those_judged(
    page: TestClient, library: Library
) -> None:
    put(page, RACE, "Fast-paced", "no")
    sheet = page.get(f"{API}/review?tag=fast-paced&verdict=all").json()
    assert [one["video"] for one in sheet["items"]] == [RACE]
    assert (sheet["videos"], sheet["judged"], sheet["yes"], sheet["no"]) == (1, 1, 0, 1)
    (item,) = sheet["items"]
    assert (item["rule"], item["evidence"], item["verdict"]) == ("fast-paced", "it says so", "no")
    assert page.get(f"{API}/review?tag=Fast-paced").json()["items"] == [], "only those not judged"
    assert "Fast-paced" not in {tag["tag"] for tag in (library.videos.get(RACE) or {})["tags"]}
    assert page.get(f"{API}/review?tag=fast-paced&verdict=no").json()["items"] == [item], "it can be judged again"
    assert page.get(f"{API}/review?tag=Sea").json()["videos"] == 0
    tags = {one["tag"]: one for one in page.get(f"{API}/review/tags").json()}
    assert "Fast-paced" not in tags, "no video has it any more"


def test_the_page_shows_the_tag_as_text(page: TestClient) -> None:
    hostile = '"><script>alert(1)</script>'
    shown = page.get("/review", params={"tag": hostile})
    assert shown.status_code == 200
    assert "<script>alert" not in shown.text
    assert "whatever the rules say" in shown.text


def test_verdicts_go_with_their_video(library: Library) -> None:
    verdicts = library.verdicts
    sha256 = sha256_of("harbour.mp4")
    verdicts.put(sha256, "Sea", "yes", "ada")
    forget(library, [sha256], lambda _: None)
    assert library.collections["verdicts"].count_documents({"video": sha256}) == 0
