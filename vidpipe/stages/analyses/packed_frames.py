"""What analyses of pictures share: the packed frames of a video, examined in batches, and the time each stands for."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice, pairwise
from typing import Any

from vidpipe.errors import MediaError, UnavailableError
from vidpipe.media.facts import PackedFrame, PackReference, Scene
from vidpipe.models.worker import WorkerModel, WorkerStoppedError
from vidpipe.stages.contract import Cancelled, Item, OutOfReach, StageContext

#: What an analysis of the packed frames reads.
READS = ("scenes.pack", "scenes.scenes", "scenes.frames_version", "scenes.duration_s")


def ask(model: WorkerModel, request: Any, context: StageContext) -> Any:
    """Return a model's answer.

    Raises:
        MediaError: The model cannot process this request.
        OutOfReach: The model cannot be loaded: no video is to blame, and the run continues without the stage.
        Cancelled: The run was stopped.
    """
    try:
        return model.call(request, context.cancelled)
    except WorkerStoppedError:
        raise Cancelled from None
    except UnavailableError as error:
        raise OutOfReach(error.message, error.hint) from error


def examine(
    item: Item, context: StageContext, model: WorkerModel, *, batch: int = 1, options: Mapping[str, Any] | None = None
) -> Iterator[tuple[PackedFrame, Any]]:
    """Yield every packed frame with what the model found in it.

    Args:
        item: The video, with the fields `READS`.
        context: The context of the stage.
        model: Answers {"jpegs": [...], **options} with a list of one value per JPEG.
        batch: Frames per request.
        options: The same for every request.

    Raises:
        MediaError: The pack is missing or damaged, or the model cannot process a frame.
        StoreError: The pack cannot be downloaded.
        OutOfReach: The model cannot be loaded.
        Cancelled: The run was stopped.
    """
    reference: PackReference | None = item["scenes.pack"]
    if reference is None:
        return
    pack = context.files.pack(item.sha256, reference, context.cancelled)
    done = 0
    frames_of_pack = iter(pack)
    while frames := _next(frames_of_pack, batch):
        if context.cancelled.is_set():  # `ask` notices it only while it waits
            raise Cancelled
        answers = ask(model, {"jpegs": [jpeg for _, jpeg in frames], **(options or {})}, context)
        yield from ((frame, answer) for (frame, _), answer in zip(frames, answers, strict=True))
        done += len(frames)
        context.progress(item.sha256, done / len(pack.frames))


def _next(frames: Iterator[tuple[PackedFrame, bytes]], count: int) -> list[tuple[PackedFrame, bytes]]:
    try:
        return list(islice(frames, count))
    except OSError as error:
        raise MediaError(f"The frame pack cannot be read: {error}.", "Run the scenes stage again for it.") from error


def seconds_of_frames(frames: Sequence[PackedFrame], scenes: Sequence[Scene]) -> list[float]:
    """Return the seconds that each frame stands for: up to the middle between it and its neighbors in its scene.

    Scenes without a frame (there may be more scenes than frames) are left out of the sum.

    Args:
        frames: Frames in order of time.
        scenes: All scenes of the video.
    """
    seconds: list[float] = []
    for index, group in groupby(frames, key=lambda frame: frame.scene):
        times = [frame.time_s for frame in group]
        middles = [(a + b) / 2 for a, b in pairwise(times)]
        borders = [scenes[index].start_s, *middles, scenes[index].end_s]
        seconds += [max(0.0, end - start) for start, end in pairwise(borders)]
    return seconds
