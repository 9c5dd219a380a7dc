"""Runs a detector or classifier on JPEGs, as its card says. `load` is called in the process of a `WorkerModel`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vidpipe.media.frame_pack import decode_jpeg
from vidpipe.models.detections import detections
from vidpipe.models.model_card import ModelCard

Array = np.ndarray[Any, Any]
#: Most detections of one picture that are answered.
_MOST = 50
#: The sides of an input of any size are multiples of this.
_MULTIPLE = 32


def load(
    folders: Mapping[str, Path], cards: Mapping[str, Mapping[str, Any]], threads: int
) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Load the only model, and try it on an empty picture, so that a wrong card is noticed now.

    Returns:
        A function that takes {"jpegs": [...], "min_confidence": number} and returns for each JPEG a list of
        [label, confidence, box], most certain first; a box is [left, top, width, height] as shares of the picture, or
        None. The JPEGs are examined one by one: larger batches are slower on a CPU.

    Raises:
        ValueError: The card does not fit the model.
    """
    cv2.setNumThreads(threads)
    ((name, folder),) = folders.items()
    card = ModelCard.model_validate(cards[name])
    run = _onnx(folder, card, threads) if card.runtime == "onnx" else _opencv(folder, card)

    def found(picture: Array, min_confidence: float) -> list[Any]:
        return detections(run(tensor(picture, card)), card, min_confidence)[:_MOST]

    def answer(request: Mapping[str, Any]) -> list[Any]:
        return [found(decode_jpeg(jpeg), request["min_confidence"]) for jpeg in request["jpegs"]]

    found(np.full((64, 64, 3), 128, np.uint8), 0.5)
    return answer


def tensor(picture: Array, card: ModelCard) -> Array:
    """Return the input tensor, float32, for a picture: BGR, uint8, shape (height, width, 3)."""
    height, width = picture.shape[:2]
    size = card.size or (-(-width // _MULTIPLE) * _MULTIPLE, -(-height // _MULTIPLE) * _MULTIPLE)
    whole = card.before_crop or size
    if whole != (width, height):
        shrinks = whole[0] < width or whole[1] < height
        picture = cv2.resize(picture, whole, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if card.jpeg:
        picture = decode_jpeg(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes())
    left, top = (whole[0] - size[0]) // 2, (whole[1] - size[1]) // 2
    picture = picture[top : top + size[1], left : left + size[0]]
    if card.channels == "rgb":
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    values: Array = picture.astype(np.float32)
    if any(card.mean):
        values -= np.array(card.mean, np.float32)
    if card.std != (1, 1, 1):
        values /= np.array(card.std, np.float32)
    return np.ascontiguousarray(values if card.layout == "nhwc" else values.transpose(2, 0, 1))[None]


def _opencv(folder: Path, card: ModelCard) -> Callable[[Array], Sequence[Array]]:
    net = cv2.dnn.readNet(str(folder / card.file), str(folder / card.graph) if card.graph else "")
    names = net.getUnconnectedOutLayersNames()

    def run(values: Array) -> Sequence[Array]:
        net.setInput(values)
        return net.forward(names)

    return run


def _onnx(folder: Path, card: ModelCard, threads: int) -> Callable[[Array], Sequence[Array]]:
    import onnxruntime  # part of the extra [analyses]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / card.file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda values: session.run(None, {name: values})
