"""Status as the commands print it; settings shown without secrets, changed only where that is harmless."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from vidpipe.library.library import Library
from vidpipe.settings import Settings, init_home
from vidpipe.settings.keys import all_keys
from vidpipe.settings.remote_edit import remotely_editable
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests.library.sample_library import BROKEN, GRAPH, fill, sha256_of

API = "/api/v1"
FILES = f"{API}/settings/files"


@pytest.fixture(scope="module")
def home(module_settings: Settings) -> Iterator[WebHome]:
    with Library.open(module_settings, GRAPH) as library:
        fill(library, "race.mkv", BROKEN)
    init_home(module_settings.home)
    (module_settings.home / "config.local.ini").write_text("[QwenVL]\nAccessKey = s3cr3t-key\n")
    home = WebHome(lambda: module_settings)
    yield home
    home.close()


@pytest.fixture
def settings(home: WebHome) -> Settings:
    """With config.ini and rules as they are at first."""
    init_home(home.settings.home, force=True)
    return home.settings


@pytest.fixture
def page(home: WebHome, settings: Settings) -> TestClient:
    return TestClient(create_app(home), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5000))


def save(page: TestClient, name: str, old: str, new: str) -> tuple[int, str]:
    """Replace a part of a file's text. Returns the status, and what was said."""
    file = page.get(f"{FILES}/{name}")
    text = file.json()["text"]
    assert old in text
    answer = page.put(
        f"{FILES}/{name}", json={"text": text.replace(old, new, 1)}, headers={"If-Match": file.headers["etag"]}
    )
    return answer.status_code, answer.json().get("detail", "")


def test_what_is_in_force_is_shown_without_secrets(page: TestClient) -> None:
    answer = page.get(f"{API}/settings")
    key = answer.json()["settings"]["SceneDetection"]["MinSceneLength"]
    assert (key["value"], key["source"], key["default"], key["remote"]) == ("0.6", "config.ini", "0.6", True)
    assert answer.json()["settings"]["QwenVL"]["AccessKey"]["value"] == "***"
    for shown in (answer.text, page.get("/settings").text, page.get(f"{FILES}/config.ini").text):
        assert "s3cr3t" not in shown
    assert page.get(f"{FILES}/config.local.ini").status_code == 422


def test_a_number_is_changed_and_the_former_text_kept(page: TestClient, settings: Settings) -> None:
    config = settings.home / "config.ini"
    config.chmod(0o664)
    before = config.read_text()
    assert save(page, "config.ini", "MinSceneLength = 0.6", "MinSceneLength = 0.8") == (200, "")
    assert "MinSceneLength = 0.8" in config.read_text()
    assert stat.S_IMODE(config.stat().st_mode) == 0o664
    assert (settings.home / "config.ini.bak").read_text() == before
    assert page.get(f"{API}/settings").json()["settings"]["SceneDetection"]["MinSceneLength"]["value"] == "0.8"


def test_a_wrong_text_changes_nothing_and_the_line_is_named(page: TestClient, settings: Settings) -> None:
    before = (settings.home / "config.ini").read_text()
    line = before.splitlines().index("MinSceneLength = 0.6") + 1
    for old, new, said in (
        ("MinSceneLength = 0.6", "MinSceneLength = long", f"config.ini, line {line}: [SceneDetection] MinSceneLength"),
        ("MinSceneLength = 0.6", "MinSceneLenth = 1", "Did you mean MinSceneLength?"),
        ("MinSceneLength = 0.6", "MinSceneLength", f"line {line}"),
        ("[QwenVL]", "[QwenVL]\nAccessKey = abc", "contains a secret"),
        ("URI =", "URI = mongodb://ada:pass@h/", "contains a secret"),
    ):
        status, detail = save(page, "config.ini", old, new)
        assert status == 422
        assert said in detail
    status, detail = save(page, "custom_tags.json", '"rules"', '"rules')
    assert (status, "custom_tags.json, line" in detail) == (422, True), detail
    assert (settings.home / "config.ini").read_text() == before


LOCAL = (
    ("DownloadDirectory = data/media", "DownloadDirectory = /etc"),
    ("SourceLists = data/urls.txt", "SourceLists = /etc/passwd"),
    ("ModelDir =", "ModelDir = /tmp/model"),
    ("ModelHub = huggingface", "ModelHub = modelscope"),
    ("PublicEndpoint =", "PublicEndpoint = http://evil.example"),
    ("Enabled =", "Enabled = plugin"),
    ("LogFile = data/logs/vidpipe.log", "LogFile = /home/me/.bashrc"),
    ("CustomTagRules = rules/custom_tags.json", "CustomTagRules = /etc/passwd"),
    ("RequireKeys = auto", "RequireKeys = always"),
    ("AllowedPrivate =", "AllowedPrivate = 10.0.0.0/8"),
    ("SmtpHost =", "SmtpHost = evil.example"),
    ("URI =", "URI = mongodb://evil.example"),
    ("TlsCaFile =", "tlscafile = /etc/passwd"),
)


def test_what_names_files_programs_and_addresses_is_changed_only_on_the_machine(
    page: TestClient, settings: Settings
) -> None:
    before = (settings.home / "config.ini").read_text()
    for old, new in LOCAL:
        status, detail = save(page, "config.ini", f"\n{old}", f"\n{new}")
        assert (status, "only be changed on the machine" in detail) == (403, True), detail
    assert (settings.home / "config.ini").read_text() == before


def test_a_section_written_twice_hides_no_change(page: TestClient) -> None:
    status, detail = save(page, "config.ini", "[Paths]", "[paths]\nDownloadDirectory = /etc\n[Paths]")
    assert status in (403, 422), detail


def test_no_key_that_holds_a_path_or_a_secret_is_editable() -> None:
    for key in filter(remotely_editable, all_keys()):
        assert key.allowed not in ("a path",), key.label
        assert not key.secret, key.label
        assert not any(word in key.field for word in ("uri", "url", "host", "endpoint", "dir", "file", "model_")) or (
            key.section in ("Lists", "Budget", "Download")
        ), key.label


def test_an_edit_of_an_older_version_is_refused(page: TestClient) -> None:
    file = page.get(f"{FILES}/questions.json")
    body, known = {"text": '{"questions": []}'}, {"If-Match": file.headers["etag"]}
    assert page.put(f"{FILES}/questions.json", json=body).status_code == 422, "without If-Match"
    saved = page.put(f"{FILES}/questions.json", json=body, headers=known)
    assert saved.status_code == 200
    assert page.put(f"{FILES}/questions.json", json={"text": '{"questions": [] }'}, headers=known).status_code == 412
    assert page.get(f"{FILES}/questions.json").headers["etag"] == saved.json()["etag"]


def test_rules_are_parsed_before_they_replace_the_file(page: TestClient) -> None:
    status, detail = save(page, "categories.json", '"keywords"', '"keyword"')
    assert status == 422
    assert "categories.json" in detail
    for name in ("custom_tags.json", "categories.json", "priority_keywords.json"):
        assert save(page, name, "", " ")[0] == 200


@pytest.fixture
def broken(home: WebHome) -> str:
    """A video whose metadata cannot be read."""
    opened = home.opened()
    error = {"message": f"{BROKEN} is no video.", "hint": "Fetch it again."}
    entry = {"status": "failed", "ready": True, "stale": False, "spec": opened.plan.specs["metadata"], "error": error}
    sha256 = sha256_of(BROKEN)
    opened.library.collections["videos"].update_one({"_id": sha256}, {"$set": {"stages.metadata": entry}})
    return sha256


def test_the_status_counts_videos_by_stage_and_state(page: TestClient, broken: str) -> None:
    found = page.get(f"{API}/status").json()
    assert found["videos"] == 2
    assert found["stages"]["metadata"]["failed"] == 1
    assert found["sources"] == {"stored": 2}
    assert found["dagster"] == "", "Dagster's page does not run"


def test_failures_say_what_to_do_and_can_be_narrowed(page: TestClient, broken: str) -> None:
    (failure,) = page.get(f"{API}/failures").json()["stages"]
    assert (failure["video"], failure["stage"], failure["hint"]) == (broken, "metadata", "Fetch it again.")
    assert page.get(f"{API}/failures?stage=tags").json()["stages"] == []
    assert page.get(f"{API}/failures?state=quarantined").json()["stages"] == []
    assert len(page.get(f"{API}/failures?stage=metadata&state=failed").json()["stages"]) == 1


def test_statistics_are_those_of_the_command(page: TestClient, broken: str) -> None:
    found = page.get(f"{API}/stats?days=7").json()
    assert found["library"]["videos"] == 2
    assert found["stages"]["metadata"]["failing_videos"] == 1
    assert page.get(f"{API}/stats?days=0").status_code == 422


def test_the_pages_are_served(page: TestClient) -> None:
    for path in ("/status", "/status?stage=metadata&state=failed", "/settings", "/review"):
        assert page.get(path).status_code == 200
