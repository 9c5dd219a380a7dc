"""config, doctor and down."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from vidpipe.cli import doctor
from vidpipe.library import embedded
from vidpipe.settings import Settings, init_home
from vidpipe_tests.cli.conftest import Command


def test_config_tells_values_and_where_they_come_from(vidpipe: Command) -> None:
    (vidpipe.home / "config.local.ini").write_text("[QwenVL]\nAccessKey = very-secret\n")
    found = vidpipe.json("config", "--log-level", "WARNING")
    assert found["settings"]["Logging"]["Level"]["value"] == "WARNING"
    assert found["settings"]["Logging"]["Level"]["source"] == "command line"
    assert found["settings"]["MongoDB"]["DatabaseName"]["source"] == "environment VIDPIPE_MONGODB_DATABASENAME"
    assert found["settings"]["QwenVL"]["AccessKey"]["value"] == "***"
    assert found["settings"]["SceneDetection"]["Detector"]["source"] == "config.ini"
    text = vidpipe("config", "--changed").output
    assert "DatabaseName" in text
    assert "MinSceneLength" not in text


def test_config_masks_secrets(vidpipe: Command) -> None:
    (vidpipe.home / "config.local.ini").write_text("[QwenVL]\nAccessKey = very-secret\n")
    password = vidpipe.env["VIDPIPE_MONGODB_URI"].partition("@")[0].rpartition(":")[2]
    for args in (["config"], ["config", "--json"]):
        output = vidpipe(*args).output
        assert "very-secret" not in output
        assert password not in output


def test_doctor_finds_all_well(vidpipe: Command) -> None:
    found = vidpipe.json("doctor")
    checks = {check["name"]: check for check in found["checks"]}
    assert set(checks) == {
        "Python", "OpenCV", "home", "ffmpeg", "ffprobe", "MongoDB", "disk", "rules", "model", "analyses", "plugins",
        "Dagster", "video sites",
    }  # fmt: skip
    assert {check["status"] for check in checks.values()} <= {"ok", "warn"}
    assert checks["ffmpeg"]["status"] == "ok"
    assert "tag rules" in checks["rules"]["found"]


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("FFMPEG_BINARY", "/nowhere/ffmpeg", "ffmpeg"),
        ("FFPROBE_BINARY", "/nowhere/ffprobe", "ffprobe"),
        ("VIDPIPE_MONGODB_URI", "mongodb://127.0.0.1:9/", "MongoDB"),
        ("VIDPIPE_QWENVL_BACKEND", "endpoint", "model"),
        ("VIDPIPE_RULES_CUSTOMTAGRULES", "nowhere.json", "rules"),
        ("VIDPIPE_RULES_PROMPTS", "nowhere", "rules"),
        ("VIDPIPE_RULES_QUESTIONS", "nowhere.json", "rules"),
        ("VIDPIPE_DOWNLOAD_MINFREEMB", "900000000", "disk"),
    ],
)
def test_doctor_names_what_is_wrong_and_what_to_do(vidpipe: Command, variable: str, value: str, name: str) -> None:
    ill = Command(vidpipe.home, {**vidpipe.env, "VIDPIPE_MONGODB_TIMEOUT": "0.3", variable: value})
    found = ill.json("doctor", code=3)
    failed = [check for check in found["checks"] if check["status"] == "fail"]
    assert [check["name"] for check in failed] == [name]
    assert failed[0]["todo"]
    assert "1 check failed" in ill("doctor").stdout


def test_doctor_says_that_rules_are_the_defaults_of_an_older_version(
    vidpipe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = vidpipe.home / "rules" / "categories.json"
    digest = hashlib.sha256(rules.read_bytes()).hexdigest()
    monkeypatch.setattr(doctor, "_OLD_DEFAULTS", {digest[:12]})
    (check,) = [check for check in vidpipe.json("doctor")["checks"] if check["name"] == "rules"]
    assert check["status"] == "warn"
    assert f"{rules} is the unchanged default" in check["found"]


def test_doctor_finds_a_broken_template_before_it_is_needed(vidpipe: Command) -> None:
    (vidpipe.home / "rules" / "prompts" / "tags.j2").write_text("Tags of {{ vidoe.title }}?")
    (rules,) = [check for check in vidpipe.json("doctor", code=3)["checks"] if check["status"] == "fail"]
    assert rules["name"] == "rules"
    assert rules["found"].startswith('rules/prompts/tags.j2, line 1: unknown variable "vidoe"')


def test_doctor_says_that_settings_are_wrong(vidpipe: Command) -> None:
    (vidpipe.home / "config.ini").write_text("[Nonsense]\n")
    assert [check["name"] for check in vidpipe.json("doctor", code=3)["checks"]] == ["settings"]


def test_down_leaves_a_server_of_the_users_own_alone(vidpipe: Command) -> None:
    found = vidpipe.json("down")
    assert found["stopped"] == []
    assert "not managed by vidpipe" in found["message"]


_USER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))):
    print("connected", flush=True)
    sys.stdin.read()
"""


@pytest.mark.soak
def test_down_stops_the_embedded_server_unless_somebody_uses_it(tmp_path: Path) -> None:
    home = init_home(tmp_path / "embedded").home
    vidpipe = Command(home, {"VIDPIPE_HOME": str(home)})
    settings = Settings(home=home)
    try:
        assert vidpipe("status").exit_code == 0
        port = str(embedded.start(settings).port)
        with subprocess.Popen(
            [sys.executable, "-c", _USER, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as user:
            assert user.stdout is not None
            assert user.stdout.readline() == "connected\n"
            refused = vidpipe("down")
            assert refused.exit_code == 1
            assert f"process {user.pid} " in refused.stderr
            assert "--force" in refused.stderr
            assert embedded.status(settings).running
            assert vidpipe.json("down", "--force")["stopped"] == ["mongod"]
            user.communicate()
        assert not embedded.status(settings).running
        assert vidpipe.json("down")["stopped"] == []
        assert vidpipe("list").exit_code == 0  # starts it again
        assert vidpipe.json("down")["stopped"] == ["mongod"]
    finally:
        embedded.stop(settings)
