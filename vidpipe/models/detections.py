"""The output tensors of detectors and classifiers, read as a label, a confidence and a place for each thing found."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from vidpipe.models.model_card import ModelCard, OutputFormat

Array = np.ndarray[Any, Any]
#: Numbers of labels, confidences, and corners (left, top, right, bottom, as shares of the picture) if there are any.
_Read = tuple[Array, Array, Array | None]
#: CenterFace predicts one value for each square of this many pixels.
_STRIDE = 4
#: Two faces that overlap more than this are one.
_MAX_OVERLAP = 0.3


def detections(outputs: Sequence[Array], card: ModelCard, min_confidence: float) -> list[list[Any]]:
    """Return what was found in a picture, as lists of [label, confidence, box or None], most certain first.

    A box is [left, top, width, height] as shares of the picture.

    Args:
        outputs: The output tensors, see `ModelCard.output`.
        card: The model's card.
        min_confidence: Less certain ones are dropped.

    Raises:
        ValueError: The tensors do not have the shapes that the card promises.
    """
    numbers, confidences, corners = _READERS[card.output](outputs, card, min_confidence)
    found = []
    for place in np.flatnonzero(confidences >= min_confidence):
        number = int(numbers[place])
        if label := card.labels[number] if 0 <= number < len(card.labels) else "":
            box = None if corners is None else _box(corners[place])
            found.append([label, round(float(confidences[place]), 4), box])
    return sorted(found, key=lambda one: (-one[1], one[0], one[2] or []))


def _box(corners: Array) -> list[float]:
    left, top, right, bottom = np.clip(corners, 0, 1).tolist()
    return [round(value, 4) for value in (left, top, right - left, bottom - top)]


def _ssd(outputs: Sequence[Array], card: ModelCard, min_confidence: float) -> _Read:
    (rows,) = _expected(outputs, (1, 1, None, 7))
    return rows[0, :, 1], rows[0, :, 2], rows[0, :, 3:]


def _detr(outputs: Sequence[Array], card: ModelCard, min_confidence: float) -> _Read:
    nothing = card.activation == "softmax"  # the last label of a softmax
    logits, boxes = _expected(outputs, (1, None, len(card.labels) + nothing), (1, None, 4))
    scores = _activated(logits, card)[:, : len(card.labels)]
    middles, halves = boxes[:, :2], boxes[:, 2:] / 2
    return scores.argmax(1), scores.max(1), np.hstack([middles - halves, middles + halves])


def _scores(outputs: Sequence[Array], card: ModelCard, min_confidence: float) -> _Read:
    (scores,) = _expected(outputs, (1, len(card.labels)))
    return np.arange(len(scores)), _activated(scores, card), None


def _centerface(outputs: Sequence[Array], card: ModelCard, min_confidence: float) -> _Read:
    """Read the maps of CenterFace (Xu et al. 2019, arXiv:1911.03599).

    A cell of the heat map is the confidence that a face's center is in this square of 4x4 pixels; the offset is the
    center's place in it (y, x), the size map holds logarithms of height and width in cells.
    """
    (heat,), sizes, offsets = _expected(outputs, (1, 1, None, None), (1, 2, None, None), (1, 2, None, None))
    rows, columns = np.nonzero(heat >= min_confidence)
    confidences, halves = heat[rows, columns], np.exp(sizes[:, rows, columns]) / 2
    middles = np.array([rows, columns]) + offsets[:, rows, columns] + 0.5
    corners = np.concatenate([middles - halves, middles + halves])[[1, 0, 3, 2]].T
    boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]) * _STRIDE
    kept = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), confidences.tolist(), min_confidence, _MAX_OVERLAP), int)
    height, width = heat.shape
    return np.zeros(len(kept)), confidences[kept], corners[kept] / (width, height, width, height)


_READERS: dict[OutputFormat, Callable[[Sequence[Array], ModelCard, float], _Read]] = {
    "ssd": _ssd,
    "detr": _detr,
    "scores": _scores,
    "centerface": _centerface,
}


def _activated(logits: Array, card: ModelCard) -> Array:
    if card.activation == "none":
        return logits
    if card.activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-logits)))
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def _expected(outputs: Sequence[Array], *shapes: tuple[int | None, ...]) -> list[Array]:
    """Return the outputs for the only picture, if they have these shapes; None is any number."""
    fit = len(outputs) >= len(shapes) and all(
        output.ndim == len(shape)
        and all(side in (None, found) for found, side in zip(output.shape, shape, strict=True))
        for output, shape in zip(outputs, shapes, strict=False)
    )
    if not fit:
        found, wanted = (" and ".join(map(str, some)) for some in ([output.shape for output in outputs], shapes))
        raise ValueError(f"the model answers tensors of shape {found}; its card needs {wanted.replace('None', 'any')}")
    return [output[0] for output in outputs[: len(shapes)]]
