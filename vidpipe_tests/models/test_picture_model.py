"""Pictures become tensors as a card says, and tensors become labels and boxes in the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vidpipe.models.detections import detections
from vidpipe.models.model_card import ModelCard
from vidpipe.models.picture_input import in_picture, tensor


def card(**fields: Any) -> ModelCard:
    given = {"runtime": "onnx", "file": "a.onnx", "output": "detr", "labels": ("cat", "dog"), **fields}
    return ModelCard.model_validate(given)


def picture(width: int, height: int) -> np.ndarray[Any, Any]:
    """Blue on the left, red on the right."""
    made = np.zeros((height, width, 3), np.uint8)
    made[:, : width // 2, 0] = made[:, width // 2 :, 2] = 255
    return made


def test_values_follow_layout_channels_scale_mean_and_std() -> None:
    how = card(size=(16, 8), scale=1 / 255, mean=(0.5, 0.0, 0.0), std=(0.5, 1.0, 1.0))
    values = tensor([picture(32, 16)] * 2, how)
    assert (values.shape, values.dtype) == ((2, 3, 8, 16), np.float32)
    assert values[0, :, 4, 2] == pytest.approx([-1, 0, 1], abs=1e-6)  # blue: red is (0 - 0.5) / 0.5
    assert values[1, :, 4, 14] == pytest.approx([1, 0, 0], abs=1e-6)
    last = tensor([picture(32, 16)], card(size=(16, 8), layout="nhwc", channels="bgr"))
    assert last.shape == (1, 8, 16, 3)
    assert last[0, 4, 2] == pytest.approx([255, 0, 0])


@pytest.mark.parametrize(
    ("resize", "size", "inside"),
    [("stretch", (64, 64), (0.5, 0.25)), ("letterbox", (64, 64), (0.5, 0.375)), ("crop", (64, 64), (0.5, 0.25))],
)
def test_places_are_mapped_back_to_the_picture(resize: str, size: tuple[int, int], inside: tuple[float, float]) -> None:
    """A point at half the width and a quarter of the height of a picture twice as wide as high."""
    how = card(resize=resize, size=size)
    x, y, *_ = in_picture(how, 128, 64)((*inside, 1.0, 1.0))
    assert (x, y) == pytest.approx((0.5, 0.25))


def test_letterboxed_and_cropped_pictures_are_not_distorted() -> None:
    boxed = tensor([picture(128, 64)], card(size=(64, 64), resize="letterbox"))
    assert boxed[0, :, 2, 32] == pytest.approx([114, 114, 114])
    assert boxed[0, :, 32, 8] == pytest.approx([0, 0, 255])
    cropped = tensor([picture(128, 64)], card(size=(32, 32), resize="crop", before_crop=(64, 64)))
    assert cropped.shape == (1, 3, 32, 32)
    assert cropped[0, :, 16, 2] == pytest.approx([0, 0, 255])


def test_an_input_of_any_size_is_rounded_up() -> None:
    assert tensor([picture(420, 252)], card(size=None)).shape == (1, 3, 256, 448)


def test_detr_answers_with_and_without_a_label_for_nothing() -> None:
    boxes = np.array([[[0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 1.0, 1.0]]], np.float32)
    logits = np.array([[[-5, 3], [-5, -5]]], np.float32)
    ((found,),) = detections([logits, boxes], card(activation="sigmoid"), 1, 0.5)
    assert found.label == "dog"
    assert found.confidence == pytest.approx(0.9526, abs=1e-3)
    assert found.corners == pytest.approx((0.4, 0.3, 0.6, 0.7))
    with_nothing = np.array([[[-5, 3, 0], [0, 0, 5]]], np.float32)
    ((found,),) = detections([with_nothing, boxes], card(activation="softmax"), 1, 0.5)
    assert found.label == "dog"
    with pytest.raises(ValueError, match="the card names 2 labels, but the model has 3"):
        detections([with_nothing, boxes], card(activation="sigmoid"), 1, 0.5)


def test_ssd_answers_belong_to_their_picture_and_empty_labels_are_dropped() -> None:
    rows = [[0, 1, 0.9, 0.1, 0.1, 0.5, 0.5], [1, 2, 0.8, 0, 0, 1, 1], [1, 0, 0.9, 0, 0, 1, 1], [0, 1, 0.2, 0, 0, 1, 1]]
    tensors = [np.array([[rows]], np.float32)]
    first, second = detections(tensors, card(output="ssd", labels=("", "cat", "dog")), 2, 0.5)
    assert [one.label for one in first] == ["cat"]
    assert [one.label for one in second] == ["dog"]


def test_centerface_answers_are_decoded_and_overlapping_ones_joined() -> None:
    maps = [np.zeros((1, channels, 8, 16), np.float32) for channels in (1, 2, 2)]
    for column, confidence in ((4, 0.9), (5, 0.7), (12, 0.6)):
        maps[0][0, 0, 3, column] = confidence
        maps[1][0, :, 3, column] = np.log([4, 2])  # height and width, in cells
    found = detections(maps, card(output="centerface", labels=()), 1, 0.5)[0]
    assert [round(face.confidence, 2) for face in found] == [0.9, 0.6]
    assert found[0].corners == pytest.approx(((4.5 - 1) / 16, (3.5 - 2) / 8, (4.5 + 1) / 16, (3.5 + 2) / 8))


def test_other_shapes_than_the_card_promises_are_told() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 5\); the card's output needs \(1, 1, 'any', 7\)"):
        detections([np.zeros((1, 5), np.float32)], card(output="ssd"), 1, 0.5)
