"""Runs the decode pass over one video: frames to the detector and the statistics, candidates and sound to their scenes.

All times in what comes out are microseconds from the first video frame: the start time of the stream, and of the file,
is taken off.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from vidpipe.media.decode import DecodeEnd, DecodePass, SmallFrame
from vidpipe.media.decode_plan import DecodePlan
from vidpipe.media.detectors import CutFinder
from vidpipe.media.frame_pack import small_frame_jpeg
from vidpipe.media.frame_selection import IntervalCandidates, Kept, SceneCandidates, Spill
from vidpipe.media.scene_stats import FrameMeter
from vidpipe.media.scene_timeline import SceneSpan, SceneTimeline
from vidpipe.settings.schema import SceneDetection

#: Small frames that are kept until a late cut tells whether one of them begins a scene.
_RECENT = 8
_PROGRESS_FRAMES = 64


@dataclass(frozen=True)
class SceneFindings:
    """What one pass found.

    scenes:     in order; empty where no frame was decoded
    kept:       scene -> candidates for its frames, in order of time
    by_time:    candidates at the thumbnail interval; empty unless thumbnails are made at an interval
    end_us:     the end of the last frame; frames: how many were decoded
    sound:      there was sound
    """

    scenes: list[SceneSpan]
    kept: dict[int, list[Kept]]
    by_time: list[Kept]
    frames: int
    end_us: int
    sound: bool
    end: DecodeEnd

    @property
    def spans_us(self) -> list[tuple[int, int]]:
        """Start and end of each scene, in microseconds."""
        starts = [span.start_us for span in self.scenes]
        return list(zip(starts, [*starts[1:], self.end_us], strict=True))


def run_pass(
    path: Path,
    plan: DecodePlan,
    settings: SceneDetection,
    spill: Spill,
    *,
    frame_rate: Fraction | None,
    expected_s: float | None,
    time_limit_s: float,
    cancelled: threading.Event,
    progress: Callable[[float], None],
) -> SceneFindings:
    """Decode `path` once.

    frame_rate: the stream's average; expected_s: its duration as the header tells; both None where unknown.
    ffmpeg's failure is no exception: look at `end`. Raises UnavailableError without ffmpeg, OSError where the disk is
    full.
    """
    with DecodePass(path, plan, time_limit_s=time_limit_s, cancelled=cancelled) as decode:
        findings = _ScenePass(decode, plan, settings, spill)
        return findings.run(frame_rate or Fraction(25), expected_s, progress)


class _ScenePass:
    def __init__(self, decode: DecodePass, plan: DecodePlan, settings: SceneDetection, spill: Spill) -> None:
        self._decode, self._plan, self._settings = decode, plan, settings
        self._meter, self._timeline = FrameMeter(), SceneTimeline(round(settings.min_scene_length * 1e6))
        self._candidates = SceneCandidates(spill, settings)
        self._by_time = (
            IntervalCandidates(spill, settings.thumbnail_interval, settings.max_thumbnails)
            if settings.thumbnails == "interval"
            else None
        )
        self._recent: deque[SmallFrame] = deque(maxlen=_RECENT)
        self._first_us = 0
        self._sound = False

    def run(self, rate: Fraction, expected_s: float | None, progress: Callable[[float], None]) -> SceneFindings:
        timeline, finder = self._timeline, CutFinder(self._settings, rate)
        for frame in self._decode.frames():
            if not timeline.frames:
                self._first_us = frame.time_us
            time_us = frame.time_us - self._first_us
            timeline.add_frame(time_us, self._meter.measure(frame.bgr, time_us))
            self._recent.append(frame)
            if timeline.frames == 1:
                self._offer_first_frame(0)
            self._cut(finder.feed(frame, time_us))
            timeline.settle(finder.settled_us)
            self._hand_out()
            if timeline.frames % _PROGRESS_FRAMES == 0 and expected_s:
                progress(min(1.0, time_us / 1e6 / expected_s))
        end = self._decode.finish()
        last_frame_s = 0.0
        if timeline.frames:
            self._cut(finder.finish())
            last_frame_s = self._last_frame_s(float(1 / rate), expected_s)
            timeline.finish(last_frame_s)
            self._hand_out(timeline.last_us + round(last_frame_s * 1e6))
        by_time = self._by_time.finish() if self._by_time else []
        return SceneFindings(
            scenes=timeline.scenes,
            # a last scene that proved too short has become part of the one before
            kept={scene: kept for scene, kept in self._candidates.finish().items() if scene < len(timeline.scenes)},
            by_time=[replace(kept, scene=timeline.scene_at(kept.time_us)) for kept in by_time],
            frames=timeline.frames,
            end_us=timeline.last_us + round(last_frame_s * 1e6),
            sound=self._sound,
            end=end,
        )

    def _cut(self, cuts: list[int]) -> None:
        for cut_us in cuts:
            scene = self._timeline.cut(cut_us)
            if scene is not None:
                self._offer_first_frame(scene)

    def _offer_first_frame(self, scene: int) -> None:
        """So that no scene is without a picture, however short."""
        start_us = self._timeline.scenes[scene].start_us + self._first_us
        frame = min(self._recent, key=lambda recent: abs(recent.time_us - start_us))
        self._candidates.offer_fallback(
            scene, start_us - self._first_us, partial(small_frame_jpeg, frame.bgr, self._plan.candidate)
        )

    def _hand_out(self, end_us: int = 1 << 62) -> None:
        """Candidates and sound whose scene is certain now. end_us: the end of the video, once it is known."""
        timeline, candidates, sound = self._timeline, self._decode.candidates, self._decode.sound
        until_us = timeline.settled_us + self._first_us
        while candidates and candidates[0].time_us < until_us:
            candidate = candidates.popleft()
            time_us = candidate.time_us - self._first_us
            scene = timeline.scene_at(time_us)
            shifted = candidate._replace(time_us=time_us)
            self._candidates.add(scene, shifted)
            if self._by_time:
                self._by_time.add(scene, shifted)
        while sound and sound[0].time_us < until_us:
            self._sound = True
            block = sound.popleft()
            time_us = block.time_us - self._first_us
            # what sounds before the first frame or after the last belongs to no scene
            if 0 <= time_us < end_us:
                timeline.add_sound(block._replace(time_us=time_us))

    def _last_frame_s(self, nominal_s: float, expected_s: float | None) -> float:
        """What is left until the header's end, if that is about as long as a frame; else as long as the one before."""
        gap_s = self._timeline.last_gap_us / 1e6 or nominal_s
        if expected_s is not None:
            left_s = expected_s - self._timeline.last_us / 1e6
            still = self._timeline.frames == 1
            if left_s > 0 and (still or left_s <= 3 * max(gap_s, nominal_s)):
                return left_s
        return gap_s
