"""Text recognition with RapidOCR (PP-OCR on onnxruntime); runs in the process of a `WorkerModel`.

The side length of detection is what its time depends on. RapidOCR enlarges small frames by default, which takes
ten times as long and reads the same captions. Most frames without text are ruled out at half the side length, which
takes a quarter of the time: there, a low bar finds text that is too small to be read.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
from rapidocr import RapidOCR

from vidpipe.media.frame_pack import decode_jpeg

#: Least confidence of a reading that is returned.
_MIN_CONFIDENCE = 0.3
#: Frames are equal if the mean luma of no block of 4x4 pixels differs by more: noise of still pictures stays below it,
#: and a changed letter does not.
_EQUAL_LUMA, _BLOCK = 8, 4
#: Detection at half the side: share of text from which a pixel, and a box, may be text (0.3 and 0.5 to read it).
_GLANCE = {"Global.use_rec": False, "Det.thresh": 0.2, "Det.box_thresh": 0.3}


def recognizer(folder: Path, *, threads: int, side: int, options: Mapping[str, Any] | None = None) -> RapidOCR:
    """Return RapidOCR with the models of a folder; nothing is fetched.

    Args:
        folder: Holds the detector `*det*.onnx` and the recognizer `*rec*.onnx`, and the recognizer's characters in a
            text file unless its metadata lists them.
        threads: Threads of each model.
        side: Frames are reduced to this longer side to find text, in pixels; text is read in the frame itself.
        options: More parameters of RapidOCR.
    """
    detector, reader = (next(iter(sorted(folder.glob(f"*{kind}*.onnx"))), folder / kind) for kind in ("det", "rec"))
    return RapidOCR(
        params={
            "Global.use_cls": False,
            "Global.log_level": "critical",
            "Global.text_score": _MIN_CONFIDENCE,
            "Det.model_path": str(detector),
            "Det.limit_type": "max",
            "Det.limit_side_len": side,
            "Rec.model_path": str(reader),
            "Rec.rec_keys_path": str(next(iter(sorted(folder.glob("*.txt"))), reader)),  # fetched if it is missing
            "EngineConfig.onnxruntime.intra_op_num_threads": min(threads, os.cpu_count() or 1),  # else it takes all
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            **(options or {}),
        }
    )


def load(
    *, folders: Mapping[str, Path], cards: Mapping[str, Any], threads: int, side: int
) -> Callable[[Mapping[str, Any]], list[list[dict[str, Any]]]]:
    """Return a function that answers {"jpegs": [...]} with the texts of each frame, in reading order.

    Each text has `text`, `box` (left, top, width, height as shares of the picture) and `confidence` (0 to 1). A frame
    that equals the last one that was read in the same request is not read again.
    """
    cv2.setNumThreads(threads)
    (folder,) = folders.values()
    ocr = recognizer(folder, threads=threads, side=side)
    glance: Any = recognizer(folder, threads=threads, side=side // 2, options=_GLANCE)

    def answer(request: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
        answers: list[list[dict[str, Any]]] = []
        last = None
        for jpeg in request["jpegs"]:
            picture = decode_jpeg(jpeg)
            luma = _blocks(picture)
            if last is not None and last.shape == luma.shape and cv2.norm(last, luma, cv2.NORM_INF) <= _EQUAL_LUMA:
                answers.append(answers[-1])
                continue
            last = luma
            # text mostly stays for several frames, and small pictures are read as fast as they are glanced at
            at_once = (answers and answers[-1]) or max(picture.shape) <= side // 2
            answers.append(_texts(ocr, picture) if at_once or glance(picture).boxes is not None else [])
        return answers

    return answer


def _blocks(picture: cv2.typing.MatLike) -> cv2.typing.MatLike:
    size = tuple(max(1, length // _BLOCK) for length in picture.shape[1::-1])
    return cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), size, interpolation=cv2.INTER_AREA)


def _texts(ocr: RapidOCR, picture: cv2.typing.MatLike) -> list[dict[str, Any]]:
    read: Any = ocr(picture)
    if read.txts is None:
        return []
    height, width = picture.shape[:2]
    texts = []
    for text, corners, confidence in zip(read.txts, read.boxes, read.scores, strict=True):
        (left, top), (right, bottom) = corners.min(axis=0) / (width, height), corners.max(axis=0) / (width, height)
        box = [round(float(share), 4) for share in (left, top, right - left, bottom - top)]
        texts.append({"text": text, "box": box, "confidence": round(min(1.0, float(confidence)), 3)})
    return texts
