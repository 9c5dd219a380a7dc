"""Which checkpoint is meant, what its version depends on, and what is said where it is not there."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vidpipe.errors import UnavailableError
from vidpipe.models.builders import build_model
from vidpipe.models.qwen import checkpoint, loading
from vidpipe.models.qwen.checkpoint import Checkpoint
from vidpipe_tests.models.qwen.conftest import TINY, settings


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


def test_the_version_depends_on_how_the_model_is_asked_and_shown_pictures(copied: Path) -> None:
    template = copied / "chat_template.jinja"
    text = template.read_text("utf-8")
    template.write_text(text.replace("helpful", "careful"), "utf-8")
    assert version(copied) != version(TINY), "another chat template"
    template.unlink()
    (copied / "chat_template.json").write_text(json.dumps({"chat_template": text}), "utf-8")
    assert version(copied) == version(TINY), "in which file it stands does not matter"
    processor = json.loads((copied / "processor_config.json").read_text("utf-8"))
    edit(copied / "processor_config.json", processor_class="OtherProcessor")
    assert version(copied) == version(TINY)
    edit(copied / "processor_config.json", video_processor={**processor["video_processor"], "image_mean": [0.5] * 3})
    assert version(copied) != version(TINY), "other colours"


def test_the_version_knows_what_counts_when_answers_are_not_drawn_by_lot(copied: Path) -> None:
    edit(copied / "generation_config.json", temperature=0.7, do_sample=True, transformers_version="9.9.9")
    edit(copied / "tokenizer_config.json", padding_side="right")
    assert version(copied) == version(TINY)
    edit(copied / "generation_config.json", repetition_penalty=1.05)
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
    with pytest.raises(UnavailableError, match=r"has no weights.*Only safetensors"):
        loading.load(Checkpoint(str(copied), folder=True))


def test_damaged_files_are_named(copied: Path) -> None:
    (copied / "config.json").write_text("{", "utf-8")
    with pytest.raises(UnavailableError, match=r"config\.json cannot be read as JSON"):
        version(copied)


def test_weights_that_do_not_load(copied: Path) -> None:
    pytest.importorskip("torch", reason="the extra `qwen` is not installed")
    (copied / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UnavailableError, match="cannot be loaded"):
        loading.load(Checkpoint(str(copied), folder=True))


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loading.importlib.util.find_spec
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    with pytest.raises(UnavailableError, match=r"requires torch.*pip install 'vidpipe\[qwen\]'"):
        loading.load(Checkpoint(str(TINY), folder=True))


def test_modelscope_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = checkpoint.importlib.util.find_spec
    monkeypatch.setattr(
        checkpoint.importlib.util, "find_spec", lambda name: None if name == "modelscope" else found(name)
    )
    model = build_model(settings(model_dir="", model_hub="modelscope"))
    assert model.name == "Qwen/Qwen2-VL-7B-Instruct"
    with pytest.raises(UnavailableError, match="requires the package modelscope") as raised:
        _ = model.version
    assert "pip install modelscope" in str(raised.value.hint)


def test_half_a_download_from_modelscope_is_noticed(copied: Path) -> None:
    assert checkpoint._has_weights(copied)
    (copied / "model.safetensors").rename(copied / "model-00001-of-00002.safetensors")
    assert not checkpoint._has_weights(copied)
    shards = {name: f"model-0000{number}-of-00002.safetensors" for number, name in enumerate("ab", start=1)}
    (copied / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}), "utf-8")
    assert not checkpoint._has_weights(copied)
    shutil.copy(copied / shards["a"], copied / shards["b"])
    assert checkpoint._has_weights(copied)


def test_a_model_that_is_not_here_and_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra `qwen` is not installed")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match=r"nobody/nothing is not on this machine.*Hugging Face"):
        _ = build_model(settings(model_dir="", model="nobody/nothing")).version


def test_an_unreachable_hub_is_one_error_and_no_chatter(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra `qwen` is not installed")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(UnavailableError, match=r"nobody/nothing is not on this machine.*Hugging Face"):
            _ = build_model(settings(model_dir="", model="nobody/nothing")).version
    assert capfd.readouterr() == ("", "")


def test_without_a_network_what_was_fetched_whole_is_enough(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in Hugging Face's cache, as `hf download` leaves it: there is no note of files that do not exist."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra `qwen` is not installed")
    kept = copied.parent / "hub" / "models--tiny--qwen"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    shutil.copytree(copied, kept / "snapshots" / ("0" * 40))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(kept.parent))
    model = build_model(settings(model_dir="", model="tiny/qwen"))
    assert model.name == "tiny/qwen"
    assert model.version == version(TINY), "the same weights by another way"


def test_naming_the_model_imports_no_torch() -> None:
    """`vidpipe status` must not pay for it."""
    code = (
        "import sys; from vidpipe_tests.models.qwen.conftest import settings\n"
        "from vidpipe.models.builders import build_model\n"
        "model = build_model(settings()); print(model.name, model.version, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    assert done.stdout.startswith("qwen2_vl ")
