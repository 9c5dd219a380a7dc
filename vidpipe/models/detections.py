"""The output tensors of detectors and classifiers, read as a label, a confidence and a place for each thing found."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from vidpipe.models.model_card import ModelCard, OutputFormat
from vidpipe.models.picture_input import Corners

Array = np.ndarray[Any, Any]
#: CenterFace predicts one value for each square of this many pixels.
_STRIDE = 4
#: Two faces that overlap more than this are one.
_MAX_OVERLAP = 0.3


class Detection(NamedTuple):
    """One thing in a picture. `corners` are shares of the model's input; None if the model does not tell a place."""

    label: str
    confidence: float
    corners: Corners | None


#: What was found in each picture.
Found = list[list[Detection]]


def detections(outputs: Sequence[Array], card: ModelCard, pictures: int, min_confidence: float) -> Found:
    """Return what was found in each picture, most certain first.

    Args:
        outputs: The output tensors, see `ModelCard.output`.
        card: The model's card.
        pictures: Pictures in the batch.
        min_confidence: Less certain ones are dropped.

    Raises:
        ValueError: The tensors do not have the shapes that the card promises.
    """
    found = _READERS[card.output](outputs, card, pictures, min_confidence)
    return [sorted(some, key=lambda one: (-one.confidence, one.label, one.corners or ())) for some in found]


def _ssd(outputs: Sequence[Array], card: ModelCard, pictures: int, min_confidence: float) -> Found:
    _expect(outputs, (1, 1, None, 7))
    found: Found = [[] for _ in range(pictures)]
    for picture, number, confidence, *corners in outputs[0][0, 0].tolist():
        if confidence >= min_confidence and 0 <= picture < pictures:
            found[int(picture)] += _labelled(card, int(number), confidence, tuple(corners))
    return found


def _detr(outputs: Sequence[Array], card: ModelCard, pictures: int, min_confidence: float) -> Found:
    _expect(outputs, (pictures, None, None), (pictures, None, 4))
    logits, boxes = outputs[:2]
    extra = card.activation == "softmax"  # the last label of a softmax is "nothing"
    if logits.shape[2] not in {len(card.labels), len(card.labels) + extra}:
        raise ValueError(f"the card names {len(card.labels)} labels, but the model has {logits.shape[2]}")
    scores = _activated(logits, card)[..., : len(card.labels)]
    numbers, certain = scores.argmax(-1), scores.max(-1)
    middles, halves = boxes[..., :2], boxes[..., 2:] / 2
    corners = np.concatenate([middles - halves, middles + halves], -1)
    found: Found = [[] for _ in range(pictures)]
    for picture, query in np.argwhere(certain >= min_confidence).tolist():
        confidence = float(certain[picture, query])
        place = tuple(corners[picture, query].tolist())
        found[picture] += _labelled(card, int(numbers[picture, query]), confidence, place)
    return found


def _scores(outputs: Sequence[Array], card: ModelCard, pictures: int, min_confidence: float) -> Found:
    _expect(outputs, (pictures, None))
    scores = _activated(outputs[0], card)
    if scores.shape[1] != len(card.labels):
        raise ValueError(f"the card names {len(card.labels)} labels, but the model has {scores.shape[1]}")
    return [
        [
            one
            for number in np.flatnonzero(row >= min_confidence)
            for one in _labelled(card, int(number), float(row[number]))
        ]
        for row in scores
    ]


def _centerface(outputs: Sequence[Array], card: ModelCard, pictures: int, min_confidence: float) -> Found:
    """Read the maps of CenterFace (Xu et al. 2019, arXiv:1911.03599).

    A cell of the heat map is the confidence that a face's center is in this square of 4x4 pixels; the offset is the
    center's place in it (y, x), the size map holds logarithms of height and width in cells.
    """
    _expect(outputs, (pictures, 1, None, None), (pictures, 2, None, None), (pictures, 2, None, None))
    heat, sizes, offsets = outputs[:3]
    rows, columns = heat.shape[2:]
    found = []
    for picture in range(pictures):
        row, column = np.nonzero(heat[picture, 0] >= min_confidence)
        height, width = np.exp(sizes[picture, :, row, column]).T
        offset_y, offset_x = offsets[picture, :, row, column].T
        left, top = column + offset_x + 0.5 - width / 2, row + offset_y + 0.5 - height / 2
        boxes = np.stack([left, top, width, height], 1)
        confidences = heat[picture, 0, row, column]
        kept = cv2.dnn.NMSBoxes((boxes * _STRIDE).tolist(), confidences.tolist(), min_confidence, _MAX_OVERLAP)
        faces = []
        for place in np.asarray(kept, int).ravel():
            x, y, w, h = boxes[place].tolist()
            corners = (x / columns, y / rows, (x + w) / columns, (y + h) / rows)
            faces.append(Detection("face", float(confidences[place]), corners))
        found.append(faces)
    return found


_READERS: dict[OutputFormat, Callable[[Sequence[Array], ModelCard, int, float], Found]] = {
    "ssd": _ssd,
    "detr": _detr,
    "scores": _scores,
    "centerface": _centerface,
}


def _labelled(
    card: ModelCard, number: int, confidence: float, corners: tuple[float, ...] | None = None
) -> list[Detection]:
    label = card.labels[number] if 0 <= number < len(card.labels) else ""
    return [Detection(label, confidence, corners)] if label else []  # type: ignore[arg-type]


def _activated(logits: Array, card: ModelCard) -> Array:
    if card.activation == "none":
        return logits
    if card.activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-logits)))
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def _expect(outputs: Sequence[Array], *shapes: tuple[int | None, ...]) -> None:
    found = [output.shape for output in outputs]
    fits = len(found) >= len(shapes) and all(
        len(shape) == len(wanted) and all(b in (None, a) for a, b in zip(shape, wanted, strict=True))
        for shape, wanted in zip(found, shapes, strict=False)
    )
    if not fits:
        wanted_shapes = " and ".join(str(tuple("any" if side is None else side for side in shape)) for shape in shapes)
        raise ValueError(
            f"the model answers tensors of shape {', '.join(map(str, found))}; the card's output needs {wanted_shapes}"
        )
