"""Frames are found by words and get zero-shot labels: a tiny CLIP of our own training (scripts/train_tiny_clip.py)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

from vidpipe.errors import UnavailableError
from vidpipe.models.frame_embedding import build_frame_model
from vidpipe.settings import Settings
from vidpipe.settings.analyses import Meaning
from vidpipe_tests.cli.conftest import command_on
from vidpipe_tests.models.packaged_models import PackagedModels

TINY = Path(__file__).parent / "tiny"
pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the extra `qwen` is not installed")
_SENTENCES = {"Squares": "a red square", "Circles": "a blue circle"}
_CATEGORIES = {name: {"keywords": "no", "sentence": sentence} for name, sentence in _SENTENCES.items()}


def shown(path: Path, *pictures: tuple[str, str]) -> Path:
    """A video that shows each (ground, color of a square on it) for a second."""
    source = ";".join(
        f"color=c={ground}:s=160x120:r=10:d=1,drawbox=x=50:y=30:w=60:h=60:color={color}:t=fill[{number}]"
        for number, (ground, color) in enumerate(pictures)
    )
    joined = "".join(f"[{number}]" for number in range(len(pictures)))
    graph = f"{source};{joined}concat=n={len(pictures)}:v=1[out0]"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", graph, "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, check=True)
    return path


def test_words_find_the_frame_and_its_second(tmp_path: Path, mongod_uri: str, models_directory: PackagedModels) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with command_on(home, mongod_uri) as command:
        models_directory.into(home, "meaning-e5-small")
        (home / "rules" / "categories.json").write_text(json.dumps(_CATEGORIES))
        vidpipe = command.under(ANALYSES_ENABLED="meaning", MEANING_FRAMEMODEL=str(TINY))
        red = shown(tmp_path / "one.mp4", ("black", "red"))
        both = shown(tmp_path / "two.mp4", ("black", "green"), ("blue", "blue"))
        vidpipe.json("add", red, both, "--run")

        hits = vidpipe.json("search", "--meaning", "red square")["hits"]
        assert (hits[0]["name"], hits[0]["matched_in"]) == ("one.mp4", "frame")
        hits = vidpipe.json("search", "--meaning", "a blue picture")["hits"]
        assert hits[0]["name"] == "two.mp4"
        assert 1.0 <= hits[0]["start_s"] < 2.0
        assert vidpipe.json("search", "blue")["notes"] == []
        (other,) = vidpipe.json("similar", "one.mp4")["hits"]
        assert (other["name"], other["matched_in"]) == ("two.mp4", "frame")
        assert "similar in meaning" in vidpipe("similar", "one.mp4").stdout

        stored = vidpipe.json("show", "one.mp4")["meaning"]
        assert (stored["labels"][0]["label"], stored["labels"][0]["share"]) == ("Squares", 1.0)
        assert stored["read_from"] == [], "nothing is said or written"
        assert len(stored["models"]) == 2


def test_a_folder_without_a_checkpoint_is_reported(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, meaning=Meaning(frame_model=str(tmp_path / "nothing")))
    with pytest.raises(UnavailableError, match="no model in"):
        build_frame_model(settings)
    assert build_frame_model(Settings(home=tmp_path)).installed == ()
