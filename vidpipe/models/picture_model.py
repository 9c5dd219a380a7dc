"""Runs a detector or classifier on JPEGs, as its card says. `load` is called in the process of a `WorkerModel`."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vidpipe.models.detections import detections
from vidpipe.models.model_card import ModelCard
from vidpipe.models.picture_input import decoded, in_picture, input_size, tensor

Array = np.ndarray[Any, Any]
#: Most detections of one picture that are answered.
_MOST = 50


def load(
    folders: Mapping[str, Path], cards: Mapping[str, Mapping[str, Any]], threads: int
) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Load the only model, and try it on an empty picture, so that a wrong card is noticed now.

    Returns:
        A function that takes {"jpegs": [...], "min_confidence": number} and returns for each JPEG a list of
        [label, confidence, box], most certain first; a box is [left, top, width, height] as shares of the picture.

    Raises:
        ValueError: The card does not fit the model.
    """
    cv2.setNumThreads(threads)
    ((name, folder),) = folders.items()
    card = ModelCard.model_validate(cards[name])
    run = _runtime(folder, card, threads)

    def answer(request: Mapping[str, Any]) -> list[Any]:
        pictures = [decoded(jpeg) for jpeg in request["jpegs"]]
        answers: list[Any] = []
        for (height, width, _), group in groupby(pictures, key=lambda picture: picture.shape):
            batch = list(group)
            place = in_picture(card, width, height)
            found = detections(run(tensor(batch, card)), card, len(batch), request["min_confidence"])
            for some in found:
                placed = [(one.label, one.confidence, one.corners and place(one.corners)) for one in some[:_MOST]]
                answers.append([[label, round(sure, 4), _box(corners)] for label, sure, corners in placed])
        return answers

    width, height = input_size(card, 64, 64)
    empty = cv2.imencode(".jpg", np.full((height, width, 3), 128, np.uint8))[1].tobytes()
    answer({"jpegs": [empty], "min_confidence": 0.5})
    return answer


def _box(corners: tuple[float, float, float, float] | None) -> list[float] | None:
    if corners is None:
        return None
    left, top, right, bottom = corners
    return [round(value, 4) for value in (left, top, right - left, bottom - top)]


def _runtime(folder: Path, card: ModelCard, threads: int) -> Callable[[Array], Sequence[Array]]:
    """Return what computes the output tensors for an input tensor."""
    path = folder / card.file
    if card.sha256:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != card.sha256:
            raise ValueError(f"{card.file} has the sha256 {found}, its card says {card.sha256}")
    return _onnx(path, card, threads) if card.runtime == "onnx" else _opencv(path, card)


def _opencv(path: Path, card: ModelCard) -> Callable[[Array], Sequence[Array]]:
    net = cv2.dnn.readNet(str(path), str(path.parent / card.graph) if card.graph else "")
    names = card.outputs or net.getUnconnectedOutLayersNames()

    def run(values: Array) -> Sequence[Array]:
        net.setInput(values)
        return net.forward(names)

    return run


def _onnx(path: Path, card: ModelCard, threads: int) -> Callable[[Array], Sequence[Array]]:
    import onnxruntime  # part of the extra [analyses]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    names = list(card.outputs) or None
    return lambda values: session.run(names, {name: values})
