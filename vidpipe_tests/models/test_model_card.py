"""A model card that is wrong says what is wrong, and a model of one's own runs with a right one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vidpipe.errors import MediaError
from vidpipe.models.catalogue import catalogue
from vidpipe.models.model_card import ModelCard, build_picture_model
from vidpipe.models.picture_model import load
from vidpipe.settings import Settings
from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.stages.analyses.packed_items import PORTRAIT

NSFW = "moderation-open-nsfw"
CARD = {
    "runtime": '"onnx"', "file": '"open_nsfw.onnx"', "licence": '"BSD-2-Clause"', "source": '"https://example.org"',
    "output": '"scores"', "labels": '["safe", "nsfw"]', "size": "[224, 224]", "layout": '"nhwc"', "channels": '"bgr"',
    "mean": "[104, 117, 123]",
}  # fmt: skip
Write = Callable[..., Path]


@pytest.fixture
def folder(home: Path, models_directory: PackagedModels) -> Write:
    """Write a folder with the real classifier and a card, some of whose lines differ."""
    weights = models_directory(NSFW) / NSFW / "open_nsfw.onnx"

    def write(**changed: str | None) -> Path:
        own = home / "own"
        own.mkdir()
        (own / weights.name).symlink_to(weights)
        sha256 = f'"{hashlib.sha256(weights.read_bytes()).hexdigest()}"'
        lines = {**CARD, "sha256": sha256, **changed}
        (own / "card.toml").write_text("\n".join(f"{key} = {value}" for key, value in lines.items() if value))
        return own

    return write


def answers(own: Path) -> list[list[list[object]]]:
    """Examine the portrait, without the process of the model."""
    (model,) = build_picture_model(Settings(home=own.parent), str(own), "scores").installed
    answer = load({model.name: model.folder}, {model.name: model.card}, 1)
    return answer({"jpegs": [PORTRAIT.read_bytes()], "min_confidence": 0.5})


def test_a_model_of_ones_own_runs(folder: Write) -> None:
    (found,) = answers(folder())
    assert [(label, box) for label, _, box in found] == [("safe", None)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": None}, "labels: Field required"),
        ({"labels": '["safe", "nsfw", "cat"]'}, "shape (1, 2); its card needs (1, 3)"),
        ({"output": '"detr"'}, "has the output detr; scores is needed"),
        ({"output": '"boxes"'}, "output: Input should be 'ssd', 'detr', 'scores' or 'centerface'"),
        ({"sise": "[224, 224]"}, "sise: Extra inputs are not permitted"),
        ({"size": "[224]"}, "size: 1: Field required"),
        ({"size": "[320, 224]"}, "Got: 320 Expected: 224"),
        ({"layout": '"nchw"'}, "Got: 3 Expected: 224"),
        ({"std": "[1, 1, 0]"}, "std: 2: Input should be greater than 0"),
        ({"file": '"../own/open_nsfw.onnx"'}, "found: no such file"),
        ({"file": '"other.onnx"'}, "found: no such file"),
        ({"sha256": f'"{"0" * 64}"'}, f"the sha256 {'0' * 64}; found: "),
        ({"sha256": None, "licence": None}, "sha256, licence is missing"),
        ({"before_crop": "[256, 200]"}, "before_crop: it needs the output scores and a size that is not larger"),
        ({"mean": "[104,"}, "cannot be read"),
    ],
)  # fmt: skip
def test_a_wrong_card_says_what_is_wrong(folder: Write, changed: dict[str, str | None], message: str) -> None:
    own = folder(**changed)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - those of ONNX Runtime, too: the process passes them on
        answers(own)
    assert message in str(caught.value)


def test_a_changed_card_is_another_version(folder: Write) -> None:
    own = folder()
    settings = Settings(home=own.parent)
    before = build_picture_model(settings, str(own), "scores").version
    card = own / "card.toml"
    card.write_text(card.read_text().replace("safe", "harmless"))
    assert build_picture_model(settings, str(own), "scores").version != before


@pytest.mark.soak
def test_a_broken_picture_fails_its_request_only(folder: Write) -> None:
    own = folder()
    model = build_picture_model(Settings(home=own.parent), str(own), "scores")
    try:
        with pytest.raises(MediaError, match="not a readable JPEG"):
            model.call({"jpegs": [b"no picture"], "min_confidence": 0.5}, threading.Event())
        assert model.call({"jpegs": [PORTRAIT.read_bytes()], "min_confidence": 0.5}, threading.Event())
    finally:
        model.close()


def test_cards_of_the_catalogue_are_valid() -> None:
    cards = {name: ModelCard.model_validate(entry.card) for name, entry in catalogue().items() if entry.card}
    assert cards.keys() >= {"objects-ssd-mobilenet-v2", "faces-centerface", NSFW}
    for name, card in cards.items():
        assert card.file in catalogue()[name].files
