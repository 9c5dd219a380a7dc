"""Which checkpoint is meant, what its version depends on, and what is said where it is not there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vidpipe.errors import UnavailableError
from vidpipe.vlm.build import build_model
from vidpipe.vlm.qwen import loading
from vidpipe.vlm.qwen.checkpoint import Checkpoint
from vidpipe_tests.vlm.qwen.conftest import TINY, settings


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "somewhere else"))


def version(folder: Path, **qwen_vl: object) -> str:
    return build_model(settings(model_dir=str(folder), **qwen_vl)).version


def edit(path: Path, **changed: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changed}), "utf-8")


def test_the_version_is_that_of_the_weights_not_of_the_path(copied: Path) -> None:
    assert version(copied) == version(TINY)
    edit(copied / "config.json", transformers_version="9.9.9")
    assert version(copied) == version(TINY), "what wrote the file does not matter"
    weights = bytearray((copied / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copied / "model.safetensors").write_bytes(weights)
    assert version(copied) != version(TINY)


def test_the_version_depends_on_configuration_and_budget_not_on_batches(copied: Path) -> None:
    assert version(TINY, max_video_tokens=128) != version(TINY)
    assert version(TINY, max_pixels=10_000) != version(TINY)
    assert version(TINY, batch_tokens=512) == version(TINY)
    edit(copied / "config.json", tie_word_embeddings=False)
    assert version(copied) != version(TINY)


def test_sharded_weights_are_known_by_their_index(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "model-00001-of-00002.safetensors")
    index = copied / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}), "utf-8")
    first = version(copied)
    index.write_text(json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}}), "utf-8")
    assert version(copied) != first
    with pytest.raises(UnavailableError, match=r"lacks weights: model-00002-of-00002\.safetensors"):
        Checkpoint(str(copied), folder=True).check()


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"has no config\.json.*ModelDir") as raised:
        _ = build_model(settings(model_dir=str(tmp_path))).version
    assert raised.value.hint


def test_a_checkpoint_without_weights(copied: Path) -> None:
    pytest.importorskip("torch", reason="the extra `qwen` is not installed")
    (copied / "model.safetensors").unlink()
    with pytest.raises(UnavailableError, match=r"has no weights.*safetensors only"):
        loading.load(Checkpoint(str(copied), folder=True))


def test_damaged_files_are_named(copied: Path) -> None:
    (copied / "config.json").write_text("{", "utf-8")
    with pytest.raises(UnavailableError, match=r"config\.json cannot be read as JSON"):
        version(copied)


def test_weights_that_do_not_load(copied: Path) -> None:
    pytest.importorskip("torch", reason="the extra `qwen` is not installed")
    (copied / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UnavailableError, match="does not load"):
        loading.load(Checkpoint(str(copied), folder=True))


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loading.importlib.util.find_spec
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    with pytest.raises(UnavailableError, match=r"needs torch.*pip install 'vidpipe\[qwen\]'"):
        loading.load(Checkpoint(str(TINY), folder=True))


def test_naming_the_model_imports_no_torch() -> None:
    """`vidpipe status` must not pay for it."""
    code = (
        "import sys; from vidpipe_tests.vlm.qwen.conftest import settings; from vidpipe.vlm.build import build_model;"
        "model = build_model(settings()); print(model.name, model.version, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    assert done.stdout.startswith("qwen2_vl ")
