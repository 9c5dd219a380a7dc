"""Cuts agree with PySceneDetect's own detectors and with ffmpeg's own filter, on the same frames."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scenedetect import StatsManager
from scenedetect.common import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from vidpipe.media.decode import SmallFrame
from vidpipe.media.detectors import (
    CutFinder,
    FastAdaptiveDetector,
    FastContentDetector,
    FfmpegSceneDetector,
    HsvDifference,
)
from vidpipe.settings.schema import SceneDetection
from vidpipe_tests import clips

SIZE = (160, 90)
Frames = list[NDArray[np.uint8]]


def decoded(path: Path, width: int = SIZE[0], height: int = SIZE[1]) -> Frames:
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", f"scale={width}:{height}", "-f", "rawvideo",
               "-pix_fmt", "bgr24", "-"]  # fmt: skip
    data = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    return list(np.frombuffer(data, np.uint8).reshape(-1, height, width, 3))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """Six shots of 20 frames each: movement, noise, dark and bright ones."""
    folder = tmp_path_factory.mktemp("detectors")
    shots = ["testsrc2", "mandelbrot", "rgbtestsrc", "testsrc", "smptebars", "gradients=seed=3"]
    found: Frames = []
    for number, source in enumerate(shots):
        clip = clips.ffmpeg(
            folder / f"{number}.mp4", "-f", "lavfi", "-i", source, "-vf",
            f"scale=320:180,noise=alls=10:allf=t:all_seed=1,eq=brightness={0.1 * number - 0.3:.1f}",
            "-frames:v", "20", "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1",
        )  # fmt: skip
        found += decoded(clip)
    return found


def times(count: int, rate: int = 25) -> list[FrameTimecode]:
    return [FrameTimecode(number, float(rate)) for number in range(count)]


@given(seed=st.integers(0, 2**32 - 1), dark=st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_faster_score_is_the_librarys_on_any_two_frames(seed: int, dark: bool) -> None:
    random = np.random.default_rng(seed)
    pair = random.integers(0, 6 if dark else 256, (2, 36, 64, 3), dtype=np.uint8)
    difference, library = HsvDifference(), ContentDetector()
    library.stats_manager = StatsManager()
    first, second = times(2)
    library.process_frame(first, pair[0])
    library.process_frame(second, pair[1])
    assert difference(pair[0]) == 0.0
    expected = library.stats_manager.get_metrics(second, [ContentDetector.FRAME_SCORE_KEY])
    assert [difference(pair[1])] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("fast", "library"),
    [
        (FastContentDetector(27.0, min_scene_len=0.6), ContentDetector(27.0, min_scene_len=0.6)),
        (
            FastAdaptiveDetector(3.0, min_scene_len=0.6),
            AdaptiveDetector(3.0, min_scene_len=0.6, window_width=3),
        ),
    ],
)
def test_the_faster_detectors_cut_where_the_librarys_do(fast: object, library: object, frames: Frames) -> None:
    found, expected = (
        [
            cut.frame_num
            for time, frame in zip(times(len(frames)), frames, strict=True)
            for cut in detector.process_frame(time, frame)  # type: ignore[attr-defined]
        ]
        for detector in (fast, library)
    )
    assert found == expected
    assert len(found) >= 4


def test_the_scene_score_is_the_one_of_ffmpegs_filter(tmp_path: Path) -> None:
    clip = clips.color_cuts(tmp_path / "cuts.mp4", ("red", "gray", "white", "navy"), seconds_each=0.4)
    command = ["ffmpeg", "-v", "error", "-i", str(clip), "-vf", "select='gte(scene,0)',metadata=print:file=-", "-f",
               "null", "-"]  # fmt: skip
    told = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout
    expected = [float(score) for score in re.findall(r"lavfi\.scene_score=([\d.]+)", told)]
    detector = FfmpegSceneDetector(0.3, 0.0)
    found = [detector.score(frame) for frame in decoded(clip)]
    assert found == pytest.approx(expected, abs=0.02)
    assert max(expected) > 0.3


@pytest.mark.parametrize("detector", ["adaptive", "content", "histogram", "hash", "threshold", "ffmpeg"])
def test_every_detector_finds_cuts_and_none_before_what_it_called_settled(detector: str, frames: Frames) -> None:
    black = [np.zeros_like(frames[0])] * 10
    shots = frames[:60] + black + frames[60:]
    finder = CutFinder(SceneDetection(detector=detector, min_scene_length=0.5))  # type: ignore[arg-type]
    cuts, settled = [], 0
    for number, frame in enumerate(shots):
        found = finder.feed(SmallFrame(number * 40_000, frame), number * 40_000)
        assert all(cut >= settled for cut in found)
        assert finder.settled_us >= settled
        settled = finder.settled_us
        cuts += found
    cuts += finder.finish()
    assert cuts
    assert all(later - earlier >= 500_000 for earlier, later in itertools.pairwise(cuts))
    if detector == "threshold":
        assert cuts == [65 * 40_000]  # the middle of the black frames 60 to 69


def test_times_not_frame_numbers_decide_how_long_a_scene_is() -> None:
    """Two frames a second: a cut 0.5 s after the last one is too soon, one after 1 s is not."""
    finder = CutFinder(SceneDetection(detector="hash", min_scene_length=0.6))
    pictures = [cv2.cvtColor(np.random.default_rng(n).integers(0, 256, (90, 160), np.uint8), cv2.COLOR_GRAY2BGR)
                for n in range(5)]  # fmt: skip
    cuts = [
        cut
        for number, picture in enumerate(pictures)
        for cut in finder.feed(SmallFrame(number * 500_000, np.asarray(picture, np.uint8)), number * 500_000)
    ]
    assert cuts == [1_000_000, 2_000_000]
