"""The analyses of packed frames against the call of the library that each model was published for, on the same JPEGs.

Ours includes the process of the model and the pipe to it. CPU time, as other programs may run meanwhile.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import psutil

from vidpipe.models.catalogue import catalogue
from vidpipe.models.installed import installed_model
from vidpipe.models.worker import WorkerModel

#: Analysis -> the model that is measured.
MODELS = {"objects": "objects-ssd-mobilenet-v2", "faces": "faces-centerface", "moderation": "moderation-open-nsfw"}
Peer = Callable[[bytes], Any]


class Comparison(NamedTuple):
    """CPU seconds per frame, the least of several rounds, and their ratio."""

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


def compare(analysis: str, jpegs: Sequence[bytes], models: Path, *, threads: int = 2, rounds: int = 5) -> Comparison:
    """Measure both sides alternately on the same frames, and return the least CPU time per frame of each.

    Args:
        analysis: objects, faces or moderation.
        jpegs: The frames, of one size.
        models: The folder of installed models.
        threads: Threads of both sides.
        rounds: Rounds, after one that is not counted.
    """
    model = installed_model(models, MODELS[analysis])
    worker = WorkerModel([model], "vidpipe.models.picture_model:load", {}, threads=threads)
    theirs = peer(analysis, model.folder, threads)
    never = threading.Event()
    sides = (lambda jpeg: worker.call({"jpegs": [jpeg], "min_confidence": 0.3}, never), theirs)
    least = [float("inf")] * 2
    try:
        for number in range(rounds + 1):
            for side, run in enumerate(sides):
                started_s = _cpu_s()
                for jpeg in jpegs:
                    run(jpeg)
                if number:
                    least[side] = min(least[side], (_cpu_s() - started_s) / len(jpegs))
    finally:
        worker.close()
    return Comparison(*least)


def _cpu_s() -> float:
    """CPU time of this process and those that it started."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return sum(spent.user + spent.system for spent in times)
