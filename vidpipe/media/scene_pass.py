"""Runs the decode pass over a video: cuts, statistics, candidates and sound of each scene.

A detector reports a cut some frames late. Measurements since the earliest possible cut therefore wait in small blocks,
which are added to the open scene as soon as no cut can fall before them any more. Memory does not grow with the number
of frames. All resulting times are in microseconds from the first video frame; the start times of the stream and of the
file are subtracted.
"""

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from vidpipe.media.decode import Decoded, DecodePass, SmallFrame
from vidpipe.media.decode_plan import DecodePlan
from vidpipe.media.detectors import CutFinder
from vidpipe.media.frame_pack import encode_jpeg
from vidpipe.media.frame_selection import IntervalCandidates, SceneCandidates, SelectedFrame, SpillFile
from vidpipe.media.learned_cuts import CutModel
from vidpipe.media.packet_times import TOLERANCE_US
from vidpipe.media.perceptual_hash import PictureSampler
from vidpipe.media.reference_decode import ReferenceDecode
from vidpipe.media.scene_stats import FrameMeter, SoundBlock, Sums, add_frames, add_sound, set_duration
from vidpipe.media.timing import last_frame_s
from vidpipe.settings.schema import SceneDetection

#: If more blocks are waiting, the older ones are joined in pairs.
_MAX_WAITING = 1024
_UNJOINED = 256
#: Interval between small frames that are kept until it is known, from late cuts, whether one of them begins a scene;
#: and their largest number, enough for a dissolve (7 s).
_RECENT_INTERVAL_US, _MAX_RECENT = 30_000, 240
_PROGRESS_FRAMES = 64


@dataclass
class SceneSpan:
    """A scene, or frames that may still become part of another one.

    Attributes:
        start_us: Its start, in microseconds from the first frame.
        start_frame: Number of its first frame.
        sums: Its sums so far.
    """

    start_us: int
    start_frame: int
    sums: Sums


class SceneTimeline:
    """The scenes so far. Times are in microseconds from the first frame.

    Args:
        min_scene_us: Shortest scene.

    Attributes:
        scenes: At least one once there is a frame; the last one is open.
        settled_us: Nothing before this time can change its scene any more.
        frames: Number of frames.
        last_us: Time of the last frame.
        last_gap_us: Interval between the last two frames, an estimate of the last frame's duration.
    """

    def __init__(self, min_scene_us: int = 0) -> None:
        self._min_scene_us = max(1, min_scene_us - TOLERANCE_US)
        self.scenes: list[SceneSpan] = []
        self._starts: list[int] = []
        self._waiting: list[SceneSpan] = []
        self.settled_us = 0
        self.frames = 0
        self.last_us = 0
        self.last_gap_us = 0

    def add_frame(self, time_us: int, sums: Sums, number: int | None = None) -> None:
        """Add the next frame and its sums. `number` counts the frames of the video; by default, those added."""
        number = self.frames if number is None else number
        if self.frames:
            self.last_gap_us = max(0, time_us - self.last_us)
            set_duration(self._waiting[-1].sums, self.last_gap_us / 1e6)
        else:
            self._open(0, 0, sums)
        self._waiting.append(SceneSpan(time_us, number, sums))
        self.frames += 1
        self.last_us = time_us
        if len(self._waiting) > _MAX_WAITING:
            self._join()

    def cut(self, time_us: int) -> int | None:
        """Begin a scene at the frame nearest to `time_us`, decoded or not.

        Returns:
            Index of the scene, or None if no scene can begin there.
        """
        place = min(range(len(self._waiting)), key=lambda index: abs(self._waiting[index].start_us - time_us))
        block = self._waiting[place]
        start_us, start_frame = block.start_us, block.start_frame
        other = place + (1 if time_us > start_us else -1)
        if 0 <= other < len(self._waiting):
            start_us, start_frame = _frame_between(block, self._waiting[other], time_us)
        if start_us - self.scenes[-1].start_us < self._min_scene_us:
            return None
        self._commit(place)
        self._open(start_us, start_frame, block.sums)
        return len(self.scenes) - 1

    def settle(self, until_us: int) -> None:
        """Declare that no cut will be found before `until_us` any more."""
        if until_us <= self.settled_us:
            return
        self.settled_us = until_us
        # the duration of the last frame is not known yet
        last = len(self._waiting) - 1
        place = 0
        while place < last and self._waiting[place].start_us < until_us:
            place += 1
        self._commit(place)

    def finish(self, last_frame_s: float) -> None:
        """Finish the last scene, which is merged into the previous one if it is too short.

        Args:
            last_frame_s: Duration of the last frame, in seconds.
        """
        if self._waiting:
            set_duration(self._waiting[-1].sums, last_frame_s)
            self._commit(len(self._waiting))
        end_us = self.last_us + round(last_frame_s * 1e6)
        if len(self.scenes) > 1 and end_us - self._starts[-1] < self._min_scene_us:
            self._starts.pop()
            short = self.scenes.pop()
            self.scenes[-1].sums += short.sums
        self.settled_us = 1 << 62

    def scene_at(self, time_us: int) -> int:
        """Return the index of the scene at a time; times before the first frame belong to the first scene."""
        return max(0, bisect_right(self._starts, time_us) - 1)

    def add_sound(self, block: SoundBlock) -> None:
        """Add a block of sound, whose time must be settled."""
        add_sound(self.scenes[self.scene_at(block.time_us)].sums, block)

    def _open(self, start_us: int, start_frame: int, first: Sums) -> None:
        self.scenes.append(SceneSpan(start_us, start_frame, np.zeros_like(first)))
        self._starts.append(start_us)

    def _commit(self, count: int) -> None:
        scene = self.scenes[-1]
        for block in self._waiting[:count]:
            add_frames(scene.sums, block.sums, block.start_us - scene.start_us)
        del self._waiting[:count]

    def _join(self) -> None:
        old, recent = self._waiting[:-_UNJOINED], self._waiting[-_UNJOINED:]
        joined = []
        for first, second in zip(old[::2], old[1::2], strict=False):
            first.sums += second.sums
            joined.append(first)
        if len(old) % 2:
            joined.append(old[-1])
        self._waiting = joined + recent


def _frame_between(one: SceneSpan, other: SceneSpan, time_us: int) -> tuple[int, int]:
    """Return time and number of the frame nearest to `time_us`, assuming equal intervals between two known frames."""
    gap_us, frames = other.start_us - one.start_us, other.start_frame - one.start_frame
    if not gap_us or not frames:
        return one.start_us, one.start_frame
    passed = round((time_us - one.start_us) / gap_us * frames)
    return one.start_us + round(passed * gap_us / frames), one.start_frame + passed


@dataclass(frozen=True)
class SceneFindings(Decoded):
    """Result of a pass.

    Attributes:
        scenes: The scenes in order; empty if no frame was decoded.
        kept: Candidates of each scene by index, in order of time.
        by_time: Candidates at the thumbnail interval; empty if thumbnails are made per scene.
        sound: Whether there was sound.
        frames_decoded: Number of frames that were decoded.
        decoder: Name of the hardware decoder; empty for software.
        first_us: Time of the first frame as ffmpeg reports it, in microseconds.
    """

    scenes: list[SceneSpan]
    kept: dict[int, list[SelectedFrame]]
    by_time: list[SelectedFrame]
    sound: bool
    frames_decoded: int
    decoder: str
    first_us: int = 0

    @property
    def spans_us(self) -> list[tuple[int, int]]:
        """Start and end of each scene, in microseconds."""
        starts = [span.start_us for span in self.scenes]
        return list(zip(starts, [*starts[1:], self.end_us], strict=True))


def run_pass(
    path: Path,
    plan: DecodePlan,
    settings: SceneDetection,
    spill: SpillFile,
    *,
    cut_model: CutModel | None = None,
    frame_rate: Fraction | None,
    expected_s: float | None,
    frame_count: int | None = None,
    time_limit_s: float,
    cancelled: threading.Event,
    progress: Callable[[float], None],
) -> SceneFindings:
    """Decode a video once. A failure of ffmpeg is not an exception, but reported in `SceneFindings.end`.

    Args:
        path: The video file.
        plan: What to decode.
        settings: The section [SceneDetection].
        spill: Stores candidates.
        cut_model: The model of the detector transnetv2.
        frame_rate: Average frame rate of the stream, if known.
        expected_s: Duration of the stream in seconds, if known.
        frame_count: Number of frames, which a plan for reference frames requires.
        time_limit_s: Time limit, in seconds.
        cancelled: Ends the pass when set.
        progress: Called with the share of the video that has been decoded, 0 to 1.

    Raises:
        FullDecodeRequired: Reference frames are not enough for this file.
        UnavailableError: ffmpeg is missing.
        OSError: The disk is full.
    """
    with DecodePass(path, plan, time_limit_s=time_limit_s, cancelled=cancelled) as decode:
        rate = frame_rate or Fraction(25)
        if not plan.reference_frames:
            return _ScenePass(decode, plan, settings, spill).run(rate, expected_s, progress, cut_model)
        with closing(ReferenceDecode(path, plan, decode, settings, frame_count or 0)) as references:
            findings = _ScenePass(references, plan, settings, spill).run(rate, expected_s, progress)
            return replace(findings, frames=frame_count or 0) if findings.frames_decoded else findings


class _ScenePass:
    def __init__(
        self, decode: DecodePass | ReferenceDecode, plan: DecodePlan, settings: SceneDetection, spill: SpillFile
    ) -> None:
        self._decode, self._plan, self._settings = decode, plan, settings
        self._meter, self._timeline = FrameMeter(), SceneTimeline(round(settings.min_scene_length * 1e6))
        self._candidates = SceneCandidates(spill, settings)
        self._by_time: IntervalCandidates | None = None
        if settings.thumbnails == "interval":
            self._by_time = IntervalCandidates(spill, settings.thumbnail_interval, settings.max_thumbnails)
        self._recent: deque[SmallFrame] = deque(maxlen=_MAX_RECENT)
        self._first_us = 0
        self._sampler = PictureSampler(plan.picture_file) if plan.picture_file else None
        self._sound = False

    def run(
        self,
        rate: Fraction,
        expected_s: float | None,
        progress: Callable[[float], None],
        cut_model: CutModel | None = None,
    ) -> SceneFindings:
        timeline, finder = self._timeline, CutFinder(self._settings, cut_model)
        for frame in self._decode.frames():
            if not timeline.frames:
                self._first_us = frame.time_us
            if self._sampler:
                self._sampler.add(frame)
            time_us = frame.time_us - self._first_us
            timeline.add_frame(time_us, self._meter.measure(frame.bgr, time_us), frame.number)
            if not self._recent or frame.time_us - self._recent[-1].time_us >= _RECENT_INTERVAL_US:
                self._recent.append(frame)
            if timeline.frames == 1:
                self._offer_first_frame(0)
            self._cut(finder.feed(frame, time_us))
            timeline.settle(finder.settled_us)
            while len(self._recent) > 1 and self._recent[1].time_us - self._first_us <= timeline.settled_us:
                self._recent.popleft()
            self._assign()
            if timeline.frames % _PROGRESS_FRAMES == 0 and expected_s:
                progress(min(1.0, time_us / 1e6 / expected_s))
        end = self._decode.finish()
        last_s = 0.0
        if timeline.frames:
            self._cut(finder.finish())
            skipped = [
                time_us - self._first_us for time_us in self._decode.skipped_after(self._first_us + timeline.last_us)
            ]
            before_us, last_us = [timeline.last_us - timeline.last_gap_us, timeline.last_us, *skipped][-2:]
            last_s = (last_us - timeline.last_us) / 1e6
            last_s += last_frame_s(timeline.frames, last_us, last_us - before_us, float(1 / rate), expected_s)
            timeline.finish(last_s)
            self._assign(timeline.last_us + round(last_s * 1e6))
        by_time = self._by_time.finish() if self._by_time else []
        return SceneFindings(
            scenes=timeline.scenes,
            # a last scene that was too short has been merged into the previous one
            kept={scene: kept for scene, kept in self._candidates.finish().items() if scene < len(timeline.scenes)},
            by_time=[replace(kept, scene=timeline.scene_at(kept.time_us)) for kept in by_time],
            frames=timeline.frames,
            end_us=timeline.last_us + round(last_s * 1e6),
            sound=self._sound,
            end=end,
            frames_decoded=timeline.frames,
            decoder=self._plan.hwaccel,
            first_us=self._first_us,
        )

    def _cut(self, cuts: list[int]) -> None:
        for cut_us in cuts:
            scene = self._timeline.cut(cut_us)
            if scene is not None:
                self._offer_first_frame(scene)

    def _offer_first_frame(self, scene: int) -> None:
        """Provide the first frame in case a short scene has no candidate."""
        start_us = self._timeline.scenes[scene].start_us + self._first_us
        frame = next((recent for recent in self._recent if recent.time_us >= start_us), self._recent[-1])
        self._candidates.offer_fallback(
            scene, start_us - self._first_us, partial(encode_jpeg, frame.bgr, self._plan.candidate)
        )

    def _assign(self, end_us: int = 1 << 62) -> None:
        """Assign candidates and sound to scenes, as far as these are settled.

        Args:
            end_us: End of the video, once it is known.
        """
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
            # sound before the first frame or after the last belongs to no scene
            if 0 <= time_us < end_us:
                timeline.add_sound(block._replace(time_us=time_us))
