"""Pictures become tensors as a card says, and tensors become labels and boxes in the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vidpipe.models.detections import detections
from vidpipe.models.model_card import ModelCard
from vidpipe.models.picture_model import tensor


def card(**fields: Any) -> ModelCard:
    given = {"runtime": "onnx", "file": "a.onnx", "output": "detr", "labels": ("cat", "dog"), **fields}
    return ModelCard.model_validate(given)


def picture(width: int, height: int) -> np.ndarray[Any, Any]:
    """Blue on the left, red on the right."""
    made = np.zeros((height, width, 3), np.uint8)
    made[:, : width // 2, 0] = made[:, width // 2 :, 2] = 255
    return made


def test_values_follow_layout_channels_mean_and_std() -> None:
    how = card(size=(16, 8), mean=(127.5, 0, 0), std=(127.5, 255, 255))
    values = tensor(picture(32, 16), how)
    assert (values.shape, values.dtype) == ((1, 3, 8, 16), np.float32)
    assert values[0, :, 4, 2] == pytest.approx([-1, 0, 1], abs=1e-6)  # blue: red is (0 - 127.5) / 127.5
    assert values[0, :, 4, 14] == pytest.approx([1, 0, 0], abs=1e-6)
    last = tensor(picture(32, 16), card(size=(16, 8), layout="nhwc", channels="bgr"))
    assert last.shape == (1, 8, 16, 3)
    assert last[0, 4, 2] == pytest.approx([255, 0, 0])


def test_the_center_of_a_stretched_picture_is_cut_out() -> None:
    cropped = tensor(picture(128, 64), card(output="scores", size=(32, 32), before_crop=(64, 48)))
    assert cropped.shape == (1, 3, 32, 32)
    assert cropped[0, :, 16, 2] == pytest.approx([0, 0, 255])
    assert cropped[0, :, 16, 30] == pytest.approx([255, 0, 0])


def test_an_input_of_any_size_is_rounded_up() -> None:
    assert tensor(picture(420, 252), card(size=None)).shape == (1, 3, 256, 448)


def test_detr_answers_with_and_without_a_label_for_nothing() -> None:
    boxes = np.array([[[0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 1.0, 1.0]]], np.float32)
    logits = np.array([[[-5, 3], [-5, -5]]], np.float32)
    assert detections([logits, boxes], card(activation="sigmoid"), 0.5) == [["dog", 0.9526, [0.4, 0.3, 0.2, 0.4]]]
    with_nothing = np.array([[[-5, 3, 0], [0, 0, 5]]], np.float32)
    assert [label for label, *_ in detections([with_nothing, boxes], card(activation="softmax"), 0.5)] == ["dog"]
    with pytest.raises(ValueError, match=r"shape \(1, 2, 3\) .* needs \(1, any, 2\)"):
        detections([with_nothing, boxes], card(activation="sigmoid"), 0.5)


def test_ssd_answers_are_cut_off_at_the_border_and_empty_labels_are_dropped() -> None:
    rows = [
        [0, 1, 0.8, 0.1, 0.1, 0.5, 0.5],
        [0, 2, 0.9, -0.5, 0, 1.5, 1],
        [0, 0, 0.9, 0, 0, 1, 1],
        [0, 1, 0.2, 0, 0, 1, 1],
    ]
    tensors = [np.array([[rows]], np.float32)]
    found = detections(tensors, card(output="ssd", labels=("", "cat", "dog")), 0.5)
    assert found == [["dog", 0.9, [0, 0, 1, 1]], ["cat", 0.8, [0.1, 0.1, 0.4, 0.4]]]


def test_centerface_answers_are_decoded_and_overlapping_ones_joined() -> None:
    maps = [np.zeros((1, channels, 8, 16), np.float32) for channels in (1, 2, 2)]
    for column, confidence in ((4, 0.9), (5, 0.7), (12, 0.6)):
        maps[0][0, 0, 3, column] = confidence
        maps[1][0, :, 3, column] = np.log([4, 2])  # height and width, in cells
    found = detections(maps, card(output="centerface", labels=("face",)), 0.5)
    assert [confidence for _, confidence, _ in found] == [0.9, 0.6]
    assert found[0][2] == pytest.approx([(4.5 - 1) / 16, (3.5 - 2) / 8, 2 / 16, 4 / 8], abs=1e-4)
    assert detections(maps, card(output="centerface", labels=("face",)), 0.95) == []


def test_other_shapes_than_the_card_promises_are_told() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 5\); its card needs \(1, 1, any, 7\)"):
        detections([np.zeros((1, 5), np.float32)], card(output="ssd"), 0.5)
