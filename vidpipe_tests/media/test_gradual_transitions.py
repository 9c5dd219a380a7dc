"""Dissolves and fades are one cut each, at their middle, from all frames or some; movement and light are no cut.

Windows are in seconds, so the cuts do not depend on the spacing of the frames either.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vidpipe.media.decode import SmallFrame
from vidpipe.media.detectors import SPARSE_S, CutFinder
from vidpipe.settings.schema import SceneDetection
from vidpipe_tests import clips

WIDTH, HEIGHT, RATE = 160, 90, 25
Frames = list[NDArray[np.uint8]]
SHOT = 75


def decoded(path: Path, *options: str) -> tuple[Frames, list[int]]:
    """Frames and their times in microseconds from the first one."""
    command = ["ffmpeg", *options, "-i", str(path), "-vf", f"scale={WIDTH}:{HEIGHT},format=bgr24,showinfo=checksum=0",
               "-fps_mode", "passthrough", "-f", "rawvideo", "-"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    times = [round(float(time) * 1_000_000) for time in re.findall(rb"pts_time:\s*([\d.]+)", done.stderr)]
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
    return list(frames), [time - times[0] for time in times]


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> list[Frames]:
    """Moving shots of three seconds."""
    folder = tmp_path_factory.mktemp("shots")
    sources = ["mandelbrot=start_scale=1", "testsrc2", "testsrc", "mandelbrot=start_scale=0.02"]
    return [
        decoded(
            clips.ffmpeg(folder / f"{number}.mp4", "-f", "lavfi", "-i", f"{source}:size=320x180:rate={RATE}"
                         if "=" in source else f"{source}=size=320x180:rate={RATE}",
                         "-frames:v", str(SHOT), "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1")
        )[0]
        for number, source in enumerate(sources)
    ]  # fmt: skip


def cuts_of(frames: Frames, times_us: list[int]) -> list[float]:
    """The default detector's cuts in seconds; none lies before what was called settled."""
    finder, cuts = CutFinder(SceneDetection()), list[int]()
    for frame, time_us in zip(frames, times_us, strict=True):
        settled = finder.settled_us
        found = finder.feed(SmallFrame(time_us, frame), time_us)
        assert all(cut >= settled for cut in found)
        cuts += found
    settled = finder.settled_us
    last = finder.finish()
    assert all(cut >= settled for cut in last)
    assert cuts + last == sorted(cuts + last)
    return [cut / 1_000_000 for cut in cuts + last]


def evenly(frames: Frames, every: int = 1) -> list[float]:
    chosen = range(0, len(frames), every)
    return cuts_of([frames[place] for place in chosen], [place * 1_000_000 // RATE for place in chosen])


def mixed(first: NDArray[np.uint8], second: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.addWeighted(first, 1 - share, second, share, 0), np.uint8)


def dissolved(first: Frames, second: Frames, count: int) -> Frames:
    between = [mixed(first[place - count], second[place], (place + 1) / (count + 1)) for place in range(count)]
    return first[:-count] + between + second[count:]


def faded(first: Frames, second: Frames, count: int, hold: int, level: int) -> Frames:
    uniform = np.full_like(first[0], level)
    return dissolved(dissolved(first, [uniform] * (hold + 2 * count), count), second, count)


@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize("count", [12, 25, 50])
@pytest.mark.parametrize("pair", [(0, 1), (1, 0), (1, 3)])
def test_a_dissolve_is_a_cut_at_its_middle(shots: list[Frames], pair: tuple[int, int], count: int, every: int) -> None:
    first, second = (shots[number] for number in pair)
    middle = (SHOT - (count + 1) / 2) / RATE
    assert evenly(dissolved(first, second, count), every) == pytest.approx([middle], abs=0.15)


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("hold", [0, 5, 25])
@pytest.mark.parametrize("count", [10, 20])
def test_a_fade_is_one_cut_in_the_middle_of_the_uniform_picture(
    shots: list[Frames], count: int, hold: int, level: int
) -> None:
    for every in (1, 3):
        found = evenly(faded(shots[0], shots[1], count, hold, level), every)
        assert found == pytest.approx([(SHOT + hold / 2) / RATE], abs=0.15)


def test_a_long_uniform_picture_is_a_scene_and_a_short_one_at_the_start_is_not(shots: list[Frames]) -> None:
    black = np.zeros_like(shots[0][0])
    found = evenly(faded(shots[0], shots[1], 20, 100, 0))
    assert found == pytest.approx([(SHOT - 10) / RATE, (SHOT + 110) / RATE], abs=0.1)
    assert evenly(dissolved([black] * 32, shots[0], 20)) == []
    assert evenly(dissolved([black] * 100, shots[0], 20)) == pytest.approx([90 / RATE], abs=0.15)


def test_a_long_uniform_picture_delays_no_decision(shots: list[Frames]) -> None:
    frames = [*shots[0], *[np.zeros_like(shots[0][0])] * 500, *shots[1], *shots[2]]
    finder, lags = CutFinder(SceneDetection()), list[int]()
    for place, frame in enumerate(frames):
        time_us = place * 1_000_000 // RATE
        finder.feed(SmallFrame(time_us, frame), time_us)
        lags.append(time_us - finder.settled_us)
    assert max(lags) < 7_000_000
    assert evenly(frames) == [3.0, 23.0, 26.0]


@pytest.mark.parametrize("kind", ["pan", "zoom", "brightness", "exposure", "blur", "still"])
def test_movement_and_light_are_no_transition(shots: list[Frames], kind: str) -> None:
    picture = cv2.resize(shots[1][0], (640, 360), interpolation=cv2.INTER_CUBIC)
    found: Frames = []
    for place in range(100):
        share = place / 100
        crop = picture[90:180, 160:320]
        if kind == "pan":
            crop = picture[90:180, round(480 * share) :][:, :160]
        elif kind == "zoom":
            width = round(640 - 400 * share)
            crop = picture[: width * 9 // 16, :width]
        elif kind == "brightness":
            crop = cv2.convertScaleAbs(crop, alpha=0.3 + share)
        elif kind == "exposure":
            crop = cv2.convertScaleAbs(crop, alpha=1, beta=round(250 * np.sin(np.pi * share)))
        elif kind == "blur":
            crop = cv2.blur(crop, (1 + round(60 * np.sin(np.pi * share)),) * 2)
        found.append(np.asarray(cv2.resize(crop, (WIDTH, HEIGHT)), np.uint8))
    assert evenly(found) == evenly(found, 3) == []


def test_reference_frames_alone_show_a_transition_at_the_same_time(shots: list[Frames], tmp_path: Path) -> None:
    frames = dissolved(dissolved(shots[0], shots[1], 25), faded(shots[2], shots[3], 15, 10, 0), 25)
    raw = tmp_path / "frames.raw"
    raw.write_bytes(b"".join(frame.tobytes() for frame in frames))
    clip = clips.ffmpeg(tmp_path / "clip.mp4", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{WIDTH}x{HEIGHT}", "-r",
                        str(RATE), "-i", str(raw), "-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p")  # fmt: skip
    every, references = decoded(clip), decoded(clip, "-skip_frame", "noref")
    assert len(references[0]) < 0.8 * len(every[0])
    expected = cuts_of(*every)
    assert len(expected) == 3
    assert cuts_of(*references) == pytest.approx(expected, abs=1 / RATE)


@pytest.mark.parametrize("rate", [1, 3, 5, 8, 12, 24, 30, 60, 120])
def test_cuts_do_not_depend_on_the_frame_rate(shots: list[Frames], rate: int) -> None:
    frames = shots[0] + shots[1] + shots[2] + shots[3]
    times = [round(number * 1_000_000 / rate) for number in range(12 * rate)]
    assert cuts_of([frames[time * RATE // 1_000_000] for time in times], times) == pytest.approx(
        [3, 6, 9], abs=1 / rate
    )


@given(seed=st.integers(0, 2**32 - 1), dropped=st.floats(0.1, 0.85))
@settings(max_examples=15, deadline=None)
def test_cuts_do_not_depend_on_dropped_frames(shots: list[Frames], seed: int, dropped: float) -> None:
    frames = shots[0] + shots[1] + shots[2] + shots[3]
    kept = [0, *(np.flatnonzero(np.random.default_rng(seed).random(4 * SHOT - 1) > dropped) + 1)]
    times = [int(place) * 1_000_000 // RATE for place in kept]
    expected = [next(time for place, time in zip(kept, times, strict=True) if place >= SHOT * n) for n in (1, 2, 3)]
    assert cuts_of([frames[place] for place in kept], times) == [time / 1_000_000 for time in expected]


def test_a_hard_cut_depends_on_the_frames_around_it_only(shots: list[Frames]) -> None:
    frames = shots[0] + shots[1] + shots[2] + shots[3]
    cuts = evenly(frames)
    assert cuts == [3.0, 6.0, 9.0]
    kept = [
        place
        for place in range(len(frames))
        if place % 7 == 0 or any(abs(place / RATE - cut) <= 2 * SPARSE_S for cut in cuts)
    ]
    assert cuts_of([frames[place] for place in kept], [place * 1_000_000 // RATE for place in kept]) == cuts
