"""Rules on the page: listed with figures, edited with a live check, planned over the library, saved like settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from vidpipe.library.api_keys import ApiKeys
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests.web.conftest import HOSTILE, SmallLibrary

if TYPE_CHECKING:
    from playwright.sync_api import Page

API = "/api/v1/rules"
FILES = "/api/v1/settings/files"
DRAFT = """rules:
  - id: seaside
    title: <img src=x onerror=alert(1)>
    selections: {listed: {labels: [Seaside]}}
    tags: ["Sea & <b>side</b>"]
"""
TAG = "Sea & <b>side</b>"
WRONG = DRAFT.replace("labels: [Seaside]", "no_such_field: [Seaside]")


@pytest.fixture(scope="module")
def app(own_library: SmallLibrary, served: str) -> Iterator[FastAPI]:
    """The application of the library; jobs find it by the variables that `served` sets."""
    app = create_app(WebHome(lambda: own_library.settings))
    with closing(app.state.home), closing(app.state.jobs):
        yield app


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    """A program on this machine, without cookies."""
    return TestClient(app, "http://127.0.0.1:8000", client=("127.0.0.1", 5000))


def ended(client: TestClient, path: str, body: Any) -> dict[str, Any]:
    """The job that a request starts, at its end."""
    job = client.post(f"{API}/{path}", json=body).json()["id"]
    client.get(f"/api/v1/runs/{job}/events")  # it ends with the job
    found: dict[str, Any] = client.get(f"/api/v1/runs/{job}").json()
    return found


def test_rules_are_listed_with_their_report_and_a_review_sheet_each(client: TestClient) -> None:
    html = client.get("/rules").text
    assert "/review?tag=Silent&amp;rule=silent" in html
    sheets = {"tag": "Silent", "rule": "silent"}
    assert client.get("/api/v1/review", params=sheets).json()["videos"] == 3
    assert client.get("/api/v1/review", params=sheets | {"rule": "another"}).json()["items"] == []
    assert 'data-rule="silent"' in client.get("/review", params=sheets).text
    line = re.search(r'data-line="(\d+)"', client.get("/rules/edit?rule=silent").text)
    assert line is not None
    text = client.get(f"{FILES}/custom_tags.json").json()["text"]
    assert '"silent"' in text.splitlines()[int(line[1]) - 1]


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        (DRAFT, None, None),
        (WRONG, "no_such_field", 2),
        ("rules:\n  - id: [", "not valid YAML", 3),
        ("rules: &a [*a]", "aliases", 1),
        ("[" * 100_000, "too many levels", 1),
        (DRAFT.replace("labels: [Seaside]", "'title|regex': '(a{1000}){1000}'"), "RE2", 2),
        ("rules: 5", "should be a list", None),
    ],
    ids=["right", "field", "yaml", "alias", "deep", "bomb", "number"],
)
def test_a_draft_is_checked_as_it_is_written(client: TestClient, text: str, said: str | None, line: int | None) -> None:
    found = client.post(f"{API}/check", json={"name": "draft.yaml", "text": text}).json()
    errors = [one for one in found if one["level"] == "error"]
    assert [said in one["sentence"] and one["line"] for one in errors] == ([] if said is None else [line]), errors


@pytest.mark.soak
def test_what_is_planned_is_applied_and_undone(client: TestClient, own_library: SmallLibrary) -> None:
    def tagged() -> int:
        return int(client.get("/api/v1/facets").json()["facets"]["tag"].get(TAG, 0))

    draft = {"name": "sea.yaml", "text": DRAFT}
    plan = ended(client, "plan", draft)
    assert (plan["state"], plan["progress"]["total"], plan["progress"]["done"]) == ("succeeded", 4, 4), plan
    changed = [one for one in plan["result"]["tags"].values() if one["gain"] or one["lose"]]
    assert [(one["name"], one["gain"], one["lose"]) for one in changed] == [(TAG, 4, 0)]
    html = client.get(f"/rules/plan/{plan['id']}").text
    client.cookies.clear()
    assert "Sea &amp; &lt;b&gt;side&lt;/b&gt;" in html
    assert f"/api/v1/videos/{own_library.videos[HOSTILE]}/thumbnail" in html
    assert "<img src=x" not in html
    assert tagged() == 0
    assert ended(client, "apply", {"plan": plan["id"]})["state"] == "succeeded"
    assert tagged() == 4
    assert ended(client, "apply", {"plan": plan["id"]})["error"]["message"].startswith("Rules or library have changed")
    assert client.get("/rules/edit?rule=seaside").text.count("readonly") == 1, "it is in a file of rules/ now"
    client.cookies.clear()
    versions = client.get(f"{API}/versions", params={"a": 1, "b": 2}).json()
    assert ([one["number"] for one in versions["versions"]], versions["waits"]) == ([2, 1], False)
    assert "+  - id: seaside" in versions["diff"]
    assert ended(client, "apply", {"version": 1})["state"] == "succeeded"
    assert tagged() == 0
    assert not (own_library.settings.home / "rules" / "sea.yaml").exists()
    assert "Undid version 2." in client.get("/rules/history?a=1&b=2").text


def test_a_plan_that_cannot_be_made_says_why(client: TestClient) -> None:
    failed = ended(client, "plan", {"name": "draft.yaml", "text": WRONG})
    assert (failed["state"], "no_such_field" in failed["error"]["message"]) == ("failed", True)
    assert client.get(f"/rules/plan/{failed['id']}").status_code == 404


def test_a_new_file_is_checked_saved_and_listed(client: TestClient, own_library: SmallLibrary) -> None:
    path = own_library.settings.home / "rules" / "sea.yaml"
    known = {"If-Match": client.get(f"{FILES}/sea.yaml").headers["etag"]}
    try:
        assert client.put(f"{FILES}/sea.yaml", json={"text": WRONG}, headers=known).status_code == 422
        assert not path.exists()
        assert client.put(f"{FILES}/sea.yaml", json={"text": DRAFT}, headers=known).status_code == 200
        assert client.put(f"{FILES}/sea.yaml", json={"text": DRAFT}, headers=known).status_code == 412
        assert path.read_text() == DRAFT
        html = client.get("/rules").text
        assert "/rules/edit?file=sea.yaml" in html
        assert "<img src=x" not in html
        html = client.get("/rules/edit?rule=seaside").text
        assert 'data-line="2"' in html
        assert "&lt;img src=x onerror=alert(1)&gt;" in html
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["_sea.yaml", ".sea.yaml", "..%2Fsea.yaml", "sea.txt", "config.local.ini"])
def test_only_files_that_can_be_rules_are_edited(client: TestClient, name: str) -> None:
    assert client.get(f"{FILES}/{name}").status_code in (404, 422)
    assert client.get(f"/rules/edit?file={name}").status_code == 422


def test_who_may_only_read_sees_rules_and_plans_none(client: TestClient, app: FastAPI) -> None:
    _, secret = ApiKeys(app.state.home.opened().library.collections).create("reader", "read")
    key = {"Authorization": f"Bearer {secret}"}
    html = client.get("/rules", headers=key).text
    assert "/rules/edit" not in html
    assert client.get("/rules/edit", headers=key).status_code == 403
    _, secret = ApiKeys(app.state.home.opened().library.collections).create("writer", "write")
    for path, sent in (("plan", key), ("apply", {"Authorization": f"Bearer {secret}"})):
        assert client.post(f"{API}/{path}", json={"plan": "x"}, headers=sent).status_code == 403
        forged = client.post(f"{API}/{path}", json={"plan": "x"}, headers={"Origin": "http://evil.test"})
        assert forged.status_code == 403


def test_a_rule_is_written_checked_and_planned_in_a_browser(page: Page, own_library: SmallLibrary) -> None:
    from playwright.sync_api import expect

    page.goto("/rules")
    page.get_by_role("link", name="New rule").click()
    text = page.get_by_label("Rules", exact=True)
    findings = page.get_by_role("status", name="Check")
    expect(findings).to_have_text("Nothing is wrong.")
    text.fill(WRONG)
    expect(findings).to_contain_text("no_such_field")
    text.fill(DRAFT.partition("labels")[0])
    text.press("Control+End")
    page.keyboard.type("labe")
    expect(page.get_by_role("option", name="labels")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.insert_text(DRAFT.partition("labels")[2])
    expect(findings).to_have_text("Nothing is wrong.")
    page.get_by_role("button", name="Plan", exact=True).click()
    row = page.get_by_role("row", name="Sea & <b>side</b>")
    expect(row).to_contain_text("+4", timeout=30_000)
    expect(row.get_by_role("link").first).to_have_attribute("href", f"/videos/{min(own_library.videos.values())}")
    page.on("dialog", lambda dialog: dialog.accept())
