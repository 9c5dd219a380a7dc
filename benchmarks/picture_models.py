"""The analyses of packed frames against the call of the library that each model was published for, on the same JPEGs.

`vidpipe.models.picture_model` is measured in this process, so that both sides have the same threads and warm caches;
the worker's pickling and pipe cost is measured by `benchmarks.analyses` as part of the stage.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from vidpipe.models.catalogue import catalogue
from vidpipe.models.picture_model import load

#: Analysis -> the model that is measured.
MODELS = {"objects": "objects-ssd-mobilenet-v2", "faces": "faces-centerface", "moderation": "moderation-open-nsfw"}
Peer = Callable[[bytes], Any]


class Comparison(NamedTuple):
    """Seconds per frame, the least of several rounds, and their ratio."""

    ours_s: float
    peer_s: float

    @property
    def ratio(self) -> float:
        return self.ours_s / self.peer_s


def peer(analysis: str, folder: Path, threads: int) -> Peer:
    """The plain call of OpenCV or ONNX Runtime, as their samples and the model's authors write it, for one JPEG."""
    cv2.setNumThreads(threads)
    if analysis == "moderation":
        return _open_nsfw(folder, threads)
    card = catalogue()[MODELS[analysis]].card
    net = cv2.dnn.readNet(str(folder / card["file"]), str(folder / card["graph"]) if "graph" in card else "")
    names = net.getUnconnectedOutLayersNames()

    def call(jpeg: bytes) -> Any:
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        height, width = picture.shape[:2]
        size = (300, 300) if analysis == "objects" else (-(-width // 32) * 32, -(-height // 32) * 32)
        net.setInput(cv2.dnn.blobFromImage(picture, 1.0, size, swapRB=True))
        return net.forward(names)

    return call


def _open_nsfw(folder: Path, threads: int) -> Peer:
    import onnxruntime
    from PIL import Image

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(folder / "open_nsfw.onnx"), options)
    name = session.get_inputs()[0].name

    def call(jpeg: bytes) -> Any:
        again = io.BytesIO()
        picture = Image.open(io.BytesIO(jpeg)).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
        picture.save(again, "JPEG")
        pixels = np.asarray(Image.open(again), np.float32)[16:240, 16:240, ::-1] - np.array([104, 117, 123], np.float32)
        return session.run(None, {name: pixels[None]})

    return call


def compare(
    analysis: str, jpegs: Sequence[bytes], models: Path, *, batch: int = 1, threads: int = 2, rounds: int = 5
) -> Comparison:
    """Measure both sides alternately on the same frames, and return the least CPU time per frame of each.

    Args:
        analysis: objects, faces or moderation.
        jpegs: The frames, of one size.
        models: The folder of installed models.
        batch: Frames per request on our side.
        threads: Threads of both sides.
        rounds: Rounds, after one that is not counted.
    """
    name = MODELS[analysis]
    ours = load({name: models / name}, {name: catalogue()[name].card}, threads)
    theirs = peer(analysis, models / name, threads)

    def run_ours() -> None:
        for start in range(0, len(jpegs), batch):
            ours({"jpegs": jpegs[start : start + batch], "min_confidence": 0.3})

    def run_theirs() -> None:
        for jpeg in jpegs:
            theirs(jpeg)

    least = [float("inf")] * 2
    for number in range(rounds + 1):
        for side, run in enumerate((run_ours, run_theirs)):
            started = time.process_time()
            run()
            if number:
                least[side] = min(least[side], (time.process_time() - started) / len(jpegs))
    return Comparison(*least)
