"""Chooses thumbnails and the model's frames from JPEG candidates, without knowing when a scene or the video ends.

A scene is divided into parts of equal length, and each keeps one candidate: not black, faded or blurred where another
one is clear. When there are twice as many parts as a scene may have frames, neighbours are joined. Over the whole video
the same happens to what closed scenes keep, so that memory and disk do not grow with the video's length. The same
video, the same choice.
"""

from __future__ import annotations

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
#: A picture shows as much as another one when it has this share of its clarity.
_ALIKE = 0.8
#: With less than this share of the clearest one's, it adds nothing to its scene: black, almost faded out, all a blur.
_TELLING = 0.3


@dataclass(frozen=True)
class Kept:
    """A candidate that was kept.

    clarity:  see `thumbnails.clarity`
    fallback: made from a small frame, because the scene had no candidate
    """

    time_us: int
    scene: int
    offset: int
    length: int
    clarity: float = 0.0
    fallback: bool = False


Judged = TypeVar("Judged", Candidate, Kept)


class Spill:
    """JPEGs in a temporary file that has no name: written one after another, read by offset."""

    def __init__(self, directory: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  (closed by __exit__)
        self._end = 0

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, jpeg: bytes) -> tuple[int, int]:
        self._file.seek(self._end)
        self._file.write(jpeg)
        offset, self._end = self._end, self._end + len(jpeg)
        return offset, len(jpeg)

    def read(self, kept: Kept) -> bytes:
        self._file.seek(kept.offset)
        return self._file.read(kept.length)


class SceneCandidates:
    """What each scene keeps. Candidates come in order of time, each with the number of its scene."""

    def __init__(self, spill: Spill, settings: SceneDetection) -> None:
        self._spill = spill
        self._per_scene = self._limit = settings.frames_per_scene
        self._most = 4 * max(settings.frames_per_video, settings.max_thumbnails)
        self._scene_stride = 1
        self._scene = 0
        self._open: list[Candidate] = []
        self._seen, self._stride = 0, 1
        self._closed: dict[int, list[Kept]] = {}
        self._count = 0
        self._fallbacks: dict[int, tuple[int, Callable[[], bytes]]] = {}

    def add(self, scene: int, candidate: Candidate) -> None:
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
        """A frame to be taken for `scene` if no candidate falls into it."""
        self._fallbacks[scene] = (time_us, jpeg)

    def finish(self) -> dict[int, list[Kept]]:
        """scene -> what was kept of it, in order of time; a very long list of scenes has gaps."""
        self._close_scene()
        self._take_fallbacks(None)
        return dict(sorted(self._closed.items()))

    def _close_scene(self) -> None:
        if self._open:
            clearest = max(candidate.clarity for candidate in self._open)
            telling = [candidate for candidate in self._open if candidate.clarity >= _TELLING * clearest]
            self._keep(self._scene, spread(telling, self._limit), fallback=False)
        self._open, self._seen, self._stride = [], 0, 1
        self._take_fallbacks(self._scene)

    def _take_fallbacks(self, up_to: int | None) -> None:
        for scene in [scene for scene in self._fallbacks if up_to is None or scene <= up_to]:
            time_us, jpeg = self._fallbacks.pop(scene)
            if scene not in self._closed and scene % self._scene_stride == 0:
                picture = jpeg()
                self._keep(scene, [Candidate(time_us, picture, clarity(picture))], fallback=True)

    def _keep(self, scene: int, candidates: Sequence[Candidate], *, fallback: bool) -> None:
        if scene % self._scene_stride:
            return
        self._closed[scene] = [
            Kept(candidate.time_us, scene, *self._spill.write(candidate.jpeg), candidate.clarity, fallback)
            for candidate in candidates
        ]
        self._count += len(candidates)
        while self._count > self._most:
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
    """One candidate each `interval_s`, or a clearer one up to a quarter of that later; when there are more than `most`,
    every other goes and the interval doubles."""

    def __init__(self, spill: Spill, interval_s: float, most: int) -> None:
        self._spill, self._interval_us, self._most = spill, round(interval_s * 1e6), most
        self._kept: list[Kept] = []

    def add(self, scene: int, candidate: Candidate) -> None:
        late_us = candidate.time_us - (len(self._kept) - 1) * self._interval_us
        if late_us < self._interval_us:
            if late_us > self._interval_us / 4 or candidate.clarity * _ALIKE <= self._kept[-1].clarity:
                return
            self._kept.pop()
        self._kept.append(Kept(candidate.time_us, scene, *self._spill.write(candidate.jpeg), candidate.clarity))
        if len(self._kept) > self._most:
            del self._kept[1::2]
            self._interval_us *= 2

    def finish(self) -> list[Kept]:
        return self._kept


def evenly(items: Sequence[T], count: int) -> list[T]:
    """`count` of `items`, evenly spaced, each standing for the middle of its part; all where there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[int((index + 0.5) * len(items) / count)] for index in range(count)]


def spread(frames: Sequence[Judged], count: int) -> list[Judged]:
    """`count` of `frames`, the representative one of each of as many parts; all where there are no more."""
    if len(frames) <= count:
        return list(frames)
    borders = [index * len(frames) // count for index in range(count + 1)]
    return [representative(frames[start:end]) for start, end in itertools.pairwise(borders)]


def clearer(frames: Sequence[Judged]) -> Judged:
    """The first of `frames` unless a later one shows clearly more."""
    best = frames[0]
    for frame in frames[1:]:
        if best.clarity < _ALIKE * frame.clarity:
            best = frame
    return best


def allot(durations: Mapping[int, float], available: Mapping[int, int], budget: int) -> dict[int, int]:
    """scene -> how many frames it may have: at least one each, the rest by duration (Jefferson's method).

    durations: seconds of each scene; available: most frames each can have, at least 1. With more scenes than frames,
    evenly spaced scenes get one each.
    """
    scenes = evenly(sorted(available), budget)
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
    kept: Mapping[int, Sequence[Kept]], durations: Mapping[int, float], settings: SceneDetection
) -> list[Kept]:
    """The frames that the describing model will see, in order of time."""
    available = {scene: min(len(some), settings.frames_per_scene) for scene, some in kept.items()}
    shares = allot(durations, available, settings.frames_per_video)
    return [frame for scene, share in sorted(shares.items()) for frame in spread(kept[scene], share)]


def scene_thumbnails(kept: Mapping[int, Sequence[Kept]], most: int) -> list[Kept]:
    """One frame for each scene, at most `most` (then evenly spaced scenes), in order of time."""
    return [representative(kept[scene]) for scene in evenly(sorted(kept), most)]


def representative(frames: Sequence[Judged]) -> Judged:
    """The frame nearest to the middle of those that show about the most: black, faded and blurred ones show little."""
    clearest = max(frame.clarity for frame in frames)
    middle = (len(frames) - 1) / 2
    telling = [(abs(place - middle), place) for place, frame in enumerate(frames) if frame.clarity >= _ALIKE * clearest]
    return frames[min(telling)[1]]


def poster(thumbnails: Sequence[Kept], durations: Mapping[int, float]) -> Kept:
    """The thumbnail that stands for the video: clear and rich in detail, of a scene that is no mere flash."""
    return max(
        thumbnails, key=lambda frame: (frame.clarity * min(1.0, 0.25 + durations[frame.scene] / 4), -frame.time_us)
    )
