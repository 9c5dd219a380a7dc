"""Chooses thumbnails and the model's frames from JPEG candidates, without knowing when a scene or the video ends.

A scene is divided into parts of equal length, each of which keeps one candidate: not a black, faded or blurred one if
another is clear. When there are twice as many parts as a scene may have frames, neighbors are joined. The same happens
to the frames of closed scenes over the whole video, so that memory and disk space do not grow with its length. The
selection is deterministic.
"""

import heapq
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vidpipe.media.decode import Candidate
from vidpipe.media.frame_pack import clarity
from vidpipe.settings.schema import SceneDetection

T = TypeVar("T")
#: A picture is as clear as another one if it has this share of its clarity.
_SIMILAR_CLARITY = 0.8
#: A picture with less than this share of the clearest one's clarity adds nothing: black, faded out or blurred.
_MIN_CLARITY = 0.3


@dataclass(frozen=True)
class SelectedFrame:
    """A candidate that was kept in a `SpillFile`.

    Attributes:
        time_us: Its time, in microseconds from the first video frame.
        scene: Index of its scene.
        offset: Byte offset of the JPEG in the file.
        length: Length of the JPEG, in bytes.
        clarity: See `frame_pack.clarity`.
        fallback: Whether it was made from a small frame, because the scene had no candidate.
    """

    time_us: int
    scene: int
    offset: int
    length: int
    clarity: float = 0.0
    fallback: bool = False


AnyFrame = TypeVar("AnyFrame", Candidate, SelectedFrame)


class SpillFile:
    """JPEGs in an unnamed temporary file. Use it as a context manager.

    Args:
        directory: Where to create the file.
    """

    def __init__(self, directory: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  (closed by __exit__)
        self._end = 0

    def __enter__(self) -> "SpillFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, jpeg: bytes) -> tuple[int, int]:
        """Append a JPEG, and return its offset and length in bytes."""
        self._file.seek(self._end)
        self._file.write(jpeg)
        offset, self._end = self._end, self._end + len(jpeg)
        return offset, len(jpeg)

    def read(self, frame: SelectedFrame) -> bytes:
        """Return the JPEG of a frame."""
        self._file.seek(frame.offset)
        return self._file.read(frame.length)


class SceneCandidates:
    """Keeps candidates of each scene.

    Args:
        spill: Stores the JPEGs.
        settings: The section [SceneDetection].
    """

    def __init__(self, spill: SpillFile, settings: SceneDetection) -> None:
        self._spill = spill
        self._per_scene = self._limit = settings.frames_per_scene
        self._max_count = 4 * max(settings.frames_per_video, settings.max_thumbnails)
        self._scene_stride = 1
        self._scene = 0
        self._open: list[Candidate] = []
        self._seen, self._stride = 0, 1
        self._closed: dict[int, list[SelectedFrame]] = {}
        self._count = 0
        self._fallbacks: dict[int, tuple[int, Callable[[], bytes]]] = {}

    def add(self, scene: int, candidate: Candidate) -> None:
        """Add the next candidate, in order of time, with the index of its scene."""
        if scene != self._scene:
            self._close_scene()
            self._scene = scene
        if self._seen % self._stride == 0:
            self._open.append(candidate)
            if len(self._open) > 2 * self._per_scene:
                self._open = [clearer(self._open[place : place + 2]) for place in range(0, len(self._open), 2)]
                self._stride *= 2
        else:
            self._open[-1] = clearer((self._open[-1], candidate))
        self._seen += 1

    def offer_fallback(self, scene: int, time_us: int, jpeg: Callable[[], bytes]) -> None:
        """Provide a frame for a scene in case it has no candidate.

        Args:
            scene: Index of the scene.
            time_us: Time of the frame, in microseconds.
            jpeg: Returns the frame as a JPEG.
        """
        self._fallbacks[scene] = (time_us, jpeg)

    def finish(self) -> dict[int, list[SelectedFrame]]:
        """Return the frames of each scene by index, in order of time; some of very many scenes are missing."""
        self._close_scene()
        self._use_fallbacks(None)
        return dict(sorted(self._closed.items()))

    def _close_scene(self) -> None:
        if self._open:
            clearest = max(candidate.clarity for candidate in self._open)
            clear = [candidate for candidate in self._open if candidate.clarity >= _MIN_CLARITY * clearest]
            self._keep(self._scene, spread(clear, self._limit), fallback=False)
        self._open, self._seen, self._stride = [], 0, 1
        self._use_fallbacks(self._scene)

    def _use_fallbacks(self, up_to: int | None) -> None:
        for scene in [scene for scene in self._fallbacks if up_to is None or scene <= up_to]:
            time_us, jpeg = self._fallbacks.pop(scene)
            if scene not in self._closed and scene % self._scene_stride == 0:
                picture = jpeg()
                self._keep(scene, [Candidate(time_us, picture, clarity(picture))], fallback=True)

    def _keep(self, scene: int, candidates: Sequence[Candidate], *, fallback: bool) -> None:
        if scene % self._scene_stride:
            return
        self._closed[scene] = [
            SelectedFrame(candidate.time_us, scene, *self._spill.write(candidate.jpeg), candidate.clarity, fallback)
            for candidate in candidates
        ]
        self._count += len(candidates)
        while self._count > self._max_count:
            self._thin()

    def _thin(self) -> None:
        if self._limit > 1:
            self._limit //= 2
        else:
            self._scene_stride *= 2
        self._closed = {
            scene: spread(kept, self._limit) for scene, kept in self._closed.items() if scene % self._scene_stride == 0
        }
        self._count = sum(map(len, self._closed.values()))


class IntervalCandidates:
    """Keeps candidates at a regular interval, or clearer ones up to a quarter of it later.

    Args:
        spill: Stores the JPEGs.
        interval_s: The interval in seconds. It doubles when there are too many candidates.
        limit: Maximum number of candidates.
    """

    def __init__(self, spill: SpillFile, interval_s: float, limit: int) -> None:
        self._spill, self._interval_us, self._limit = spill, round(interval_s * 1e6), limit
        self._kept: list[SelectedFrame] = []

    def add(self, scene: int, candidate: Candidate) -> None:
        """Add the next candidate, in order of time, with the index of its scene."""
        late_us = candidate.time_us - (len(self._kept) - 1) * self._interval_us
        if late_us < self._interval_us:
            if late_us > self._interval_us / 4 or candidate.clarity * _SIMILAR_CLARITY <= self._kept[-1].clarity:
                return
            self._kept.pop()
        offset, length = self._spill.write(candidate.jpeg)
        self._kept.append(SelectedFrame(candidate.time_us, scene, offset, length, candidate.clarity))
        if len(self._kept) > self._limit:
            del self._kept[1::2]
            self._interval_us *= 2

    def finish(self) -> list[SelectedFrame]:
        """Return the frames in order of time."""
        return self._kept


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """Return `count` evenly spaced items, each the middle of its part; all if there are not more."""
    if len(items) <= count:
        return list(items)
    return [items[int((index + 0.5) * len(items) / count)] for index in range(count)]


def spread(frames: Sequence[AnyFrame], count: int) -> list[AnyFrame]:
    """Return the representative frames of `count` equal parts; all frames if there are not more."""
    if len(frames) <= count:
        return list(frames)
    borders = [index * len(frames) // count for index in range(count + 1)]
    return [representative(frames[start:end]) for start, end in itertools.pairwise(borders)]


def clearer(frames: Sequence[AnyFrame]) -> AnyFrame:
    """Return the first frame, unless a later one is clearly better."""
    best = frames[0]
    for frame in frames[1:]:
        if best.clarity < _SIMILAR_CLARITY * frame.clarity:
            best = frame
    return best


def allocate(durations: Mapping[int, float], available: Mapping[int, int], budget: int) -> dict[int, int]:
    """Distribute frames among scenes: at least one each, the rest in proportion to duration (Jefferson's method).

    Args:
        durations: Duration of each scene by index, in seconds.
        available: Maximum number of frames of each scene, at least 1.
        budget: Number of frames. If there are more scenes, evenly spaced ones get one frame each.

    Returns:
        Number of frames by scene index.
    """
    scenes = evenly_spaced(sorted(available), budget)
    shares = dict.fromkeys(scenes, 1)
    waiting = [(-durations[scene] / 2, scene) for scene in scenes if available[scene] > 1]
    heapq.heapify(waiting)
    for _ in range(budget - len(scenes)):
        if not waiting:
            break
        _, scene = heapq.heappop(waiting)
        shares[scene] += 1
        if shares[scene] < available[scene]:
            heapq.heappush(waiting, (-durations[scene] / (shares[scene] + 1), scene))
    return shares


def model_frames(
    kept: Mapping[int, Sequence[SelectedFrame]], durations: Mapping[int, float], settings: SceneDetection
) -> list[SelectedFrame]:
    """Return the frames for the describing model, in order of time.

    Args:
        kept: The candidates of each scene, by index.
        durations: The duration of each scene in seconds, by index.
        settings: The section [SceneDetection].
    """
    available = {scene: min(len(some), settings.frames_per_scene) for scene, some in kept.items()}
    shares = allocate(durations, available, settings.frames_per_video)
    return [frame for scene, share in sorted(shares.items()) for frame in spread(kept[scene], share)]


def scene_thumbnails(kept: Mapping[int, Sequence[SelectedFrame]], limit: int) -> list[SelectedFrame]:
    """Return one frame per scene in order of time, of evenly spaced scenes if there are more than `limit`."""
    return [representative(kept[scene]) for scene in evenly_spaced(sorted(kept), limit)]


def representative(frames: Sequence[AnyFrame]) -> AnyFrame:
    """Return the frame nearest to the middle among the clearest ones."""
    clearest = max(frame.clarity for frame in frames)
    middle = (len(frames) - 1) / 2
    clear = [place for place, frame in enumerate(frames) if frame.clarity >= _SIMILAR_CLARITY * clearest]
    return frames[min(clear, key=lambda place: abs(place - middle))]


def poster(thumbnails: Sequence[SelectedFrame], durations: Mapping[int, float]) -> SelectedFrame:
    """Return the thumbnail that represents the video: clear, and of a scene that is not just a flash."""
    return max(
        thumbnails, key=lambda frame: (frame.clarity * min(1.0, 0.25 + durations[frame.scene] / 4), -frame.time_us)
    )
