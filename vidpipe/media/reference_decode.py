"""Decodes reference frames only, and every frame where a cut is possible.

Most frames of a video are B-frames that no other frame refers to. Skipping them saves most of the decoding. Where two
neighboring reference frames differ so much that a cut may lie between them, all frames around are decoded, so that the
detectors see there exactly what they would see in a full decode, and place the cut on the same frame. Everything else,
such as statistics and thumbnails, is measured on the frames there are.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2

from vidpipe.media.decode import DecodeEnd, DecodePass, SmallFrame
from vidpipe.media.decode_plan import DecodePlan
from vidpipe.media.detectors import CERTAIN_SCORE, MIN_ADAPTIVE_SCORE, SPARSE_S, WINDOW_S, HsvDifference
from vidpipe.media.interval_decoder import IntervalDecoder
from vidpipe.media.packet_times import TOLERANCE_US
from vidpipe.settings.schema import SceneDetection

#: Detectors whose cuts can be proposed from reference frames.
REFERENCE_DETECTORS = ("adaptive", "content")
#: Codecs in which frames can be skipped, and whose packets are frames.
REFERENCE_CODECS = ("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4")
#: How far around a change the detector looks, and one frame more, whose score is that of a change, too.
_CONTEXT_US = round((WINDOW_S + 0.04) * 1_000_000)
_SPARSE_US = round(SPARSE_S * 1_000_000)
#: Intervals closer to each other are decoded as one.
_JOINED_US = 300_000
#: Longer intervals are divided, so that memory does not grow with them.
_MAX_INTERVAL_US = 2_000_000
#: Reference frames that are read while the frames of an interval are being decoded, and the largest number that wait.
_LOOKAHEAD, _MAX_WAITING = 256, 900
#: Reference frames before a change that may be needed to judge it.
_AROUND = 48
#: Over several frames, movement may make the score of a change smaller than that of the cut alone.
_SCORE_MARGIN, _RATIO_MARGIN = 0.9, 0.85
#: Movement over n frames scores n^0.7 times as much as over one (measured; noise does not grow, pans grow with n).
_GROWTH = 0.7
#: A change is movement if it scores hardly more than the changes around it would over as many frames.
_FASTER = 1.3
#: A ratio that is certain, as a multiple of the threshold, although the changes around it span several frames.
_CERTAIN = 2.0
#: Mean difference (0 to 255) between the same frame of both decoders; more means that one of them lacked a reference.
_SAME = 3.0
#: Statistics and transitions need a frame this often; a smaller number of frames does not count.
_MAX_SPACING_US, _MIN_FRAMES = 170_000, 12
#: If so many frames at the start are reference frames, all are.
_MOST_WITHOUT_SKIPPING = 64
#: Share of the frames so far that may be decoded for intervals, beyond a number that is always allowed.
_MAX_SHARE, _FREE_FRAMES = 0.4, 300


class FullDecodeRequired(Exception):
    """Reference frames are not enough: every frame of this file has to be decoded. The message tells why."""


@dataclass
class _Reference:
    """A reference frame.

    Attributes:
        frame: The frame.
        step: Number of frames from the previous reference frame to this one; 0 while unknown.
        score: Score of the change from the previous reference frame; negative while unknown.
    """

    frame: SmallFrame
    step: int = 0
    score: float = -1.0


@dataclass
class _Interval:
    """An interval in which all frames are decoded, in microseconds, both ends included."""

    start_us: int
    end_us: int
    requested: bool = False


def _ratio(score: float, total: float, count: float) -> float:
    """Return the ratio of a score to the average of the scores around it."""
    return score / max(total / max(count, 1.0), 0.01)


class ReferenceDecode:
    """A running decode, read like a `DecodePass`. Close it before the pass.

    Reference frames wait until it is known whether they lie in an interval. They are yielded as they are outside of
    intervals, and replaced by all frames of the interval within.

    Args:
        path: The video file.
        plan: What to decode.
        decode: The pass over the reference frames.
        settings: The section [SceneDetection].
        frame_count: Number of frames of the video.

    Attributes:
        candidates: As in `DecodePass`.
        sound: As in `DecodePass`.
    """

    def __init__(
        self, path: Path, plan: DecodePlan, decode: DecodePass, settings: SceneDetection, frame_count: int
    ) -> None:
        assert decode.packets is not None  # noqa: S101  (the plan lists them)
        self._path, self._plan, self._decode, self._packets = path, plan, decode, decode.packets
        self._settings, self._frame_count = settings, frame_count
        self._references: list[_Reference] = []
        # how many of them have been compared with the one before and yielded; and how many more there were before them
        self._evaluated, self._emitted, self._removed, self._skipped = 1, 0, 0, 0
        self._start_us, self._proposed_us = 0, -(1 << 62)
        self._intervals: deque[_Interval] = deque()
        self._decoder: IntervalDecoder | None = None
        self.candidates, self.sound = decode.candidates, decode.sound

    def close(self) -> None:
        """End the interval decoder."""
        if self._decoder is not None:
            self._decoder.close()

    def frames(self) -> Iterator[SmallFrame]:
        """Yield the reference frames, and all frames of intervals with a possible cut, in presentation order.

        Raises:
            FullDecodeRequired: The file is damaged or unsuitable, or a full decode is cheaper.
        """
        for frame in self._decode.frames():
            if not self._references:
                self._start_us = frame.time_us
            elif frame.time_us <= self._references[-1].frame.time_us + TOLERANCE_US:
                raise FullDecodeRequired("frames share a time or are not in order")
            self._references.append(_Reference(frame))
            self._check(frame.time_us)
            self._evaluate()
            yield from self._settled()
        self._packets.join()
        if self._references and not self._decode.killed:
            self._check(self._packets.listed_us)
            self._evaluate(ended=True)
            yield from self._settled(ended=True)

    def finish(self) -> DecodeEnd:
        """Wait until ffmpeg has ended, after the last frame.

        Raises:
            FullDecodeRequired: The file is damaged, or its packets are not its frames.
        """
        end = self._decode.finish()
        stopped = end.ended or end.lacked_memory or end.returncode < 0
        if not stopped and not self._references:
            raise FullDecodeRequired("no reference frame")
        if not stopped and (end.errors or end.returncode or self._packets.count != self._frame_count):
            raise FullDecodeRequired("the file is damaged, or its packets are not its frames")
        return end

    def skipped_after(self, time_us: int) -> list[int]:
        """Return the times of the frames after the last decoded one, which was at `time_us`, in microseconds."""
        return self._packets.between(time_us + 2 * TOLERANCE_US, 1 << 62)

    def _check(self, until_us: int) -> None:
        """Raise `FullDecodeRequired` if the reference frames up to a time are not enough."""
        if self._decode.errors:
            raise FullDecodeRequired("the decoder reports errors")
        if self._packets.unsuitable:
            raise FullDecodeRequired(self._packets.unsuitable)
        if len(self._references) > _MAX_WAITING:
            raise FullDecodeRequired("packets are listed long after they are decoded")
        read = self._removed + len(self._references)
        if until_us - self._start_us > max(read, _MIN_FRAMES) * _MAX_SPACING_US:
            raise FullDecodeRequired("too few reference frames")

    def _evaluate(self, *, ended: bool = False) -> None:
        """Propose intervals among the changes whose surroundings are known."""
        while self._evaluated < len(self._references):
            place = self._evaluated
            start_us, time_us = (reference.frame.time_us for reference in self._references[place - 1 : place + 1])
            last_us = self._references[-1].frame.time_us
            if not ended and (last_us < time_us + _CONTEXT_US or self._packets.listed_us < last_us):
                return
            self._evaluated += 1
            self._skipped += self._step(place) - 1
            if not self._skipped and self._removed + self._evaluated > _MOST_WITHOUT_SKIPPING:
                raise FullDecodeRequired("no frame is skipped")
            margin_us = self._margin_us(place)
            if margin_us is not None:
                self._propose(start_us - margin_us, time_us + margin_us)

    def _margin_us(self, place: int) -> int | None:
        """Return how far around a change the detector needs all frames to find a cut in it; None if not at all."""
        step, threshold = self._step(place), self._settings.threshold
        if self._settings.detector == "content":
            return _CONTEXT_US if step > 1 and self._score(place) >= _SCORE_MARGIN * threshold else None
        around = [*self._around(place, -1), *self._around(place, 1)]
        steps = [self._step(other) for other in around]
        if step == 1 and all(other == 1 for other in steps):
            return None
        score = self._score(place)
        if score < _SCORE_MARGIN * MIN_ADAPTIVE_SCORE:
            return None
        scores = [self._score(other) for other in around]
        if scores and score >= threshold * max(scores) * (1 if step == 1 else _CERTAIN):
            return None if step == 1 else 0  # certainly a cut, whose frame is to be found
        total = sum(scores)
        if step == 1:
            # a change over n frames scores at most as much as they do one by one: the true ratio is smaller
            return _CONTEXT_US if threshold <= _ratio(score, total, sum(steps)) < _CERTAIN * threshold else None
        start_us, end_us = (reference.frame.time_us for reference in self._references[place - 1 : place + 1])
        sparse = end_us - start_us >= _SPARSE_US and score >= _SCORE_MARGIN * CERTAIN_SCORE
        ratio = _ratio(score, total, sum(other**_GROWTH for other in steps))
        suspect = ratio >= max(_RATIO_MARGIN * threshold, _FASTER * step**_GROWTH)
        return _CONTEXT_US if sparse or suspect else None

    def _around(self, place: int, direction: int) -> Iterator[int]:
        """Yield the changes before or after a change that a detector compares it with."""
        references, other = self._references, place + direction
        border_us = references[place if direction > 0 else place - 1].frame.time_us + direction * _CONTEXT_US
        while 0 < other < len(references):
            near_us = references[other - 1 if direction > 0 else other].frame.time_us
            if (border_us - near_us) * direction <= 0:
                return
            yield other
            other += direction

    def _step(self, place: int) -> int:
        reference = self._references[place]
        if not reference.step:
            before_us = self._references[place - 1].frame.time_us
            reference.step = max(1, len(self._packets.between(before_us, reference.frame.time_us)) - 1)
        return reference.step

    def _score(self, place: int) -> float:
        reference = self._references[place]
        if reference.score < 0:
            difference = HsvDifference()
            difference(self._references[place - 1].frame.bgr)
            reference.score = difference(reference.frame.bgr)
        return reference.score

    def _propose(self, start_us: int, end_us: int) -> None:
        """Have all frames decoded from one time to another."""
        joined = start_us < self._proposed_us + _JOINED_US
        # earlier frames may have been yielded
        start_us = max(start_us, self._proposed_us + TOLERANCE_US + 1)
        self._proposed_us = end_us = max(end_us, self._proposed_us)
        if joined and self._intervals and not self._intervals[-1].requested:
            self._intervals[-1].end_us = end_us
        else:
            self._intervals.append(_Interval(start_us, end_us))

    def _settled(self, *, ended: bool = False) -> Iterator[SmallFrame]:
        """Yield the frames before which no further interval can begin."""
        border_us = 1 << 62 if ended else self._references[self._evaluated - 1].frame.time_us - _CONTEXT_US
        for interval in self._intervals:
            is_long = interval.end_us - interval.start_us > _MAX_INTERVAL_US
            if not interval.requested and (is_long or border_us > interval.end_us + _JOINED_US):
                self._request(interval)
        while True:
            first = self._intervals[0] if self._intervals else None
            yield from self._references_before(min(border_us, first.start_us) if first else border_us)
            full = ended or len(self._references) - self._emitted > _LOOKAHEAD
            if not first or not first.requested or not full:
                break
            yield from self._all_frames(self._intervals.popleft())
        known = max(0, min(self._emitted, self._evaluated - 1 - _AROUND))
        del self._references[:known]
        self._removed += known
        self._emitted -= known
        self._evaluated -= known

    def _references_before(self, time_us: int) -> Iterator[SmallFrame]:
        while self._emitted < len(self._references):
            frame = self._references[self._emitted].frame
            if frame.time_us >= time_us - TOLERANCE_US:
                return
            self._emitted += 1
            yield self._numbered(frame)

    def _all_frames(self, interval: _Interval) -> Iterator[SmallFrame]:
        assert self._decoder is not None  # noqa: S101  (it got the request)
        expected_us = self._packets.between(interval.start_us, interval.end_us)
        frames = self._decoder.frames()
        if self._decode.killed:
            return
        if self._decoder.frames_decoded > self._max_frames:
            raise FullDecodeRequired("too many possible cuts")
        if len(frames) != len(expected_us) or any(
            abs(frame.time_us - time_us) > TOLERANCE_US for frame, time_us in zip(frames, expected_us, strict=True)
        ):
            raise FullDecodeRequired("an interval could not be decoded on its own")
        while self._emitted < len(self._references):
            frame = self._references[self._emitted].frame
            if frame.time_us > interval.end_us + TOLERANCE_US:
                break
            self._emitted += 1
            same = min(frames, key=lambda other: abs(other.time_us - frame.time_us))
            if cv2.norm(frame.bgr, same.bgr, cv2.NORM_L1) > _SAME * frame.bgr.size:
                raise FullDecodeRequired("an interval decoded on its own looks different")
        yield from map(self._numbered, frames)

    @property
    def _max_frames(self) -> int:
        return _FREE_FRAMES + int(_MAX_SHARE * self._packets.count)

    def _request(self, interval: _Interval) -> None:
        times_us = self._packets.between(interval.start_us, interval.end_us)
        if not times_us:
            raise FullDecodeRequired("an interval without frames")
        interval.start_us = times_us[0]
        if self._decoder is None:
            self._decoder = IntervalDecoder(self._path, self._plan, self._decode)
        key_us = self._packets.key_before(interval.start_us)
        self._decoder.request(
            interval.start_us, interval.end_us, count=len(times_us), key_us=key_us, max_frames=self._max_frames
        )
        interval.requested = True

    def _numbered(self, frame: SmallFrame) -> SmallFrame:
        return frame._replace(number=self._packets.number(frame.time_us))
