"""JPEGs as the input tensor that a model card describes, and back from the tensor to places in the picture."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from vidpipe.models.model_card import ModelCard

#: left, top, right, bottom as shares of the picture
Corners = tuple[float, float, float, float]
_GRAY = (114, 114, 114)


def input_size(card: ModelCard, width: int, height: int) -> tuple[int, int]:
    """Return width and height of the input for a picture of this size."""
    return card.size or (-(-width // card.multiple) * card.multiple, -(-height // card.multiple) * card.multiple)


def decoded(jpeg: bytes) -> np.ndarray[Any, Any]:
    """Return the pixels of a JPEG: BGR, uint8, shape (height, width, 3).

    Raises:
        ValueError: It cannot be decoded.
    """
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a frame is not a readable JPEG")
    return picture


def tensor(pictures: Sequence[np.ndarray[Any, Any]], card: ModelCard) -> np.ndarray[Any, Any]:
    """Return the input tensor, float32, for pictures of one size (BGR, uint8)."""
    size = input_size(card, pictures[0].shape[1], pictures[0].shape[0])
    stacked = np.stack([_fitted(picture, size, card) for picture in pictures])
    if card.channels == "rgb":
        stacked = stacked[..., ::-1]
    if card.layout == "nchw":
        stacked = stacked.transpose(0, 3, 1, 2)
    values = stacked.astype(np.float32, order="C")
    shape = (3, 1, 1) if card.layout == "nchw" else (3,)
    if card.scale != 1:
        values *= np.float32(card.scale)
    if any(card.mean):
        values -= np.array(card.mean, np.float32).reshape(shape)
    if card.std != (1, 1, 1):
        values /= np.array(card.std, np.float32).reshape(shape)
    return values


def in_picture(card: ModelCard, width: int, height: int) -> Callable[[Corners], Corners]:
    """Return what maps corners as shares of the input to shares of a picture of this size, within 0 to 1."""
    size = input_size(card, width, height)
    inner_width, inner_height = _inner(card, size, width, height)

    def mapped(value: float, side: int, inner: int) -> float:
        return min(1.0, max(0.0, (value * side - (side - inner) / 2) / inner))

    return lambda corners: (
        mapped(corners[0], size[0], inner_width), mapped(corners[1], size[1], inner_height),
        mapped(corners[2], size[0], inner_width), mapped(corners[3], size[1], inner_height),
    )  # fmt: skip


def _inner(card: ModelCard, size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """Return the size of the whole picture on the scale of the input; larger than the input if it is cropped."""
    if card.resize == "stretch":
        return size
    if card.before_crop:
        return card.before_crop
    factors = (size[0] / width, size[1] / height)
    factor = min(factors) if card.resize == "letterbox" else max(factors)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _fitted(picture: np.ndarray[Any, Any], size: tuple[int, int], card: ModelCard) -> np.ndarray[Any, Any]:
    height, width = picture.shape[:2]
    inner = _inner(card, size, width, height)
    if inner != (width, height):
        shrinks = inner[0] < width or inner[1] < height
        picture = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if card.jpeg:
        picture = decoded(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes())
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    if left < 0 or top < 0:
        picture = picture[max(0, -top) : max(0, -top) + size[1], max(0, -left) : max(0, -left) + size[0]]
    if picture.shape[:2] != (size[1], size[0]):
        right, bottom = size[0] - left - picture.shape[1], size[1] - top - picture.shape[0]
        picture = cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=_GRAY)
    return picture
