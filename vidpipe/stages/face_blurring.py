"""Finds the faces in the frames that scenes stores, and blurs them before anything is written under a name."""

from collections.abc import Callable, Iterable
from itertools import islice

from vidpipe.media.face_blur import BLUR, blurred
from vidpipe.media.facts import Face
from vidpipe.media.frame_pack import scaled_jpeg
from vidpipe.media.frame_selection import SelectedFrame, SpillFile
from vidpipe.models.worker import WorkerModel
from vidpipe.stages.analyses.packed_frames import ask
from vidpipe.stages.contract import StageContext

#: Far below the confidence from which a face counts as one: better a blurred pattern than a recognizable face.
_MIN_CONFIDENCE = 0.2
#: Faces that nearly fill the picture are found in a small one.
_SMALL = 0.5
_BATCH = 4


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
        self._hidden: dict[SelectedFrame, tuple[Face, ...]] = {}

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
        waiting = iter(sorted(set(frames), key=lambda frame: frame.offset))
        while batch := list(islice(waiting, _BATCH)):
            jpegs = [spill.read(frame) for frame in batch]
            large, small = self._detect(jpegs), self._detect([scaled_jpeg(jpeg, _SMALL) for jpeg in jpegs])
            for frame, found, more in zip(batch, large, small, strict=True):
                self._faces[frame] = found
                self._hidden[frame] = (*found, *more)
        return lambda frame: blurred(spill.read(frame), [face.box for face in self._hidden[frame]])

    def faces(self, frame: SelectedFrame) -> tuple[Face, ...]:
        """Return the faces that were found in a frame at its full size, for the analysis that counts them."""
        return self._faces[frame]

    def _detect(self, jpegs: list[bytes]) -> list[tuple[Face, ...]]:
        answers = ask(self._model, {"jpegs": jpegs, "min_confidence": _MIN_CONFIDENCE}, self._context)
        return [tuple(Face(box=box, confidence=sure) for _, sure, box in answer) for answer in answers]
