"""Finds the faces in the frames that scenes stores, and blurs them before anything is written under a name."""

from collections.abc import Callable, Iterable
from typing import Any

from vidpipe.media.face_blur import BLUR, blurred
from vidpipe.media.facts import Box, Face
from vidpipe.media.frame_pack import decode_jpeg, encode_jpeg
from vidpipe.media.frame_selection import SelectedFrame, SpillFile
from vidpipe.models.worker import WorkerModel
from vidpipe.stages.analyses.packed_frames import ask
from vidpipe.stages.contract import Cancelled, StageContext

#: Far below the confidence from which a face counts as one: better a blurred pattern than a recognizable face. At 0.13,
#: faces of which the picture's border leaves only mouth and chin are found in most frames, at 0.2 in half of them.
_MIN_CONFIDENCE = 0.13


class FaceBlurring:
    """Blurs the faces in frames.

    Args:
        model: The face detector.
        context: The context of the stage.
    """

    def __init__(self, model: WorkerModel, context: StageContext) -> None:
        self._model = model
        self._context = context
        self._faces: dict[SelectedFrame, tuple[Face, ...]] = {}
        self._hidden: dict[SelectedFrame, list[Box]] = {}

    @property
    def version(self) -> str:
        """Identifies the detector and the way of blurring."""
        return f"{BLUR} {self._model.version}"

    def find(self, spill: SpillFile, frames: Iterable[SelectedFrame]) -> Callable[[SelectedFrame], bytes]:
        """Find the faces in frames, and return what reads a frame with its faces blurred.

        Raises:
            MediaError: The detector fails.
            OutOfReach: The detector cannot be loaded.
            Cancelled: The run was stopped.
        """
        for frame in sorted(set(frames), key=lambda frame: frame.offset):
            if self._context.cancelled.is_set():  # `ask` notices it only while it waits
                raise Cancelled
            jpeg = spill.read(frame)
            here, reduced = faces_in(jpeg, self._model, self._context)
            self._faces[frame] = tuple(Face(box=box, confidence=sure) for _, sure, box in here)
            self._hidden[frame] = [box for _, _, box in (*here, *reduced)]
        return lambda frame: blurred(spill.read(frame), self._hidden[frame])

    def faces(self, frame: SelectedFrame) -> tuple[Face, ...]:
        """Return the faces that were found in a frame at its full size, for the analysis that counts them."""
        return self._faces[frame]


def faces_in(jpeg: bytes, model: WorkerModel, context: StageContext) -> tuple[list[Any], list[Any]]:
    """Return (label, confidence, box) of each face in a JPEG, and in the same at half the size.

    Faces that nearly fill the picture are found in a small one. Raises what `FaceBlurring.find` does.
    """
    picture = decode_jpeg(jpeg)
    small = encode_jpeg(picture, (max(1, picture.shape[1] // 2), max(1, picture.shape[0] // 2)))
    here, reduced = ask(model, {"jpegs": [jpeg, small], "min_confidence": _MIN_CONFIDENCE}, context)
    return here, reduced
