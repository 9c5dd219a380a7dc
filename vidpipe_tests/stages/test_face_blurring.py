"""With BlurFaces, no picture that scenes stores shows a face, and frames of both kinds are never mixed."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from vidpipe.errors import UnavailableError
from vidpipe.media.frame_pack import FramePack
from vidpipe.models.worker import WorkerModel
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe.settings.schema import SceneDetection
from vidpipe.settings.storage import Privacy
from vidpipe.stages.analyses import faces
from vidpipe.stages.analyses.results import FacesResult
from vidpipe.stages.contract import StageContext
from vidpipe.stages.registry import build_graph, build_resource
from vidpipe.stages.results import Scenes
from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.stages.analyses.packed_items import portrait_clip, result_of
from vidpipe_tests.stages.scene_items import scene_item, scenes_of

MODEL = "faces-centerface"


#: Thumbnails at an interval come from another selection than those of scenes; the poster is one of them.
INTERVAL = {"thumbnails": "interval", "thumbnail_interval": 0.2}


def blurring(home: Path, **detection: Any) -> Settings:
    return Settings(home=home, privacy=Privacy(blur_faces=True), scene_detection=SceneDetection(**detection))


class Blurred(NamedTuple):
    """What scenes made of a clip.

    Attributes:
        scenes: The result.
        pictures: Every picture that was stored.
    """

    scenes: Scenes
    pictures: list[bytes]


def blurred_scenes(clip: Path, home: Path, **detection: Any) -> Blurred:
    settings = blurring(home, **detection)
    stage = build_graph(settings)["scenes"]
    model = build_resource("faces_model", settings)
    assert isinstance(model, WorkerModel)
    try:
        (outcome,) = stage.function([scene_item(clip)], StageContext(settings, resources={"faces_model": model}))
    finally:
        model.close()
    assert outcome.error is None, outcome.error
    assert isinstance(outcome.result, Scenes)
    assert outcome.result.pack is not None
    stored = [jpeg for _, jpeg in FramePack(settings.resolve(outcome.result.pack.path))]
    stored += [settings.resolve(thumbnail.path).read_bytes() for thumbnail in outcome.result.thumbnails]
    return Blurred(outcome.result, stored)


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory, models_directory: PackagedModels) -> Path:
    home = tmp_path_factory.mktemp("home")
    models_directory.into(home, MODEL)
    return home


@pytest.fixture(scope="module")
def clip(module_home: Path) -> Path:
    return portrait_clip(module_home / "a.mp4")


@pytest.fixture(scope="module")
def blurred(clip: Path, module_home: Path) -> Blurred:
    return blurred_scenes(clip, module_home, **INTERVAL)


def detail(jpeg: bytes, box: tuple[float, float, float, float]) -> float:
    """How much neighboring pixels in the box differ."""
    picture = Image.open(io.BytesIO(jpeg)).convert("L").resize((256, 300))
    left, top, width, height = box
    face = picture.crop((round(left * 256), round(top * 300), round((left + width) * 256), round((top + height) * 300)))
    return float(np.abs(np.diff(np.asarray(face, np.int16), axis=1)).mean())


def test_faces_are_blurred_in_frames_and_thumbnails(blurred: Blurred, clip: Path, module_home: Path) -> None:
    plain, found = scenes_of(clip, module_home, **INTERVAL), blurred.scenes
    assert plain.pack is not None
    assert found.pack is not None
    shown = [jpeg for _, jpeg in FramePack(Settings(home=module_home).resolve(plain.pack.path))]
    face, coat = (0.36, 0.24, 0.32, 0.3), (0.1, 0.75, 0.8, 0.2)
    assert min(detail(jpeg, face) for jpeg in shown) > 4
    assert max(detail(jpeg, face) for jpeg in blurred.pictures) < 2
    assert len(found.thumbnails) > len(found.scenes) == 1
    assert found.poster in {thumbnail.path for thumbnail in found.thumbnails}
    assert detail(blurred.pictures[0], coat) == pytest.approx(detail(shown[0], coat), rel=0.15)
    # frames of both kinds have other folders and versions, which the describing model's answers depend on
    assert found.pack.version != plain.pack.version
    assert found.frames_version != plain.frames_version
    assert found.scenes[0].frames_version != plain.scenes[0].frames_version
    assert [scene.stats for scene in found.scenes] == [scene.stats for scene in plain.scenes]


def test_blurred_faces_are_still_counted(blurred: Blurred, module_home: Path) -> None:
    counted = result_of(faces.ANALYSIS, blurred.scenes, blurring(module_home))
    assert isinstance(counted, FacesResult)
    assert (counted.count, counted.share) == (1, 1.0)


@pytest.mark.soak
def test_a_run_killed_while_faces_are_searched_leaves_no_picture_on_disk(clip: Path, home: Path) -> None:
    """The candidates, whose faces are not blurred yet, are in a file without a name."""
    run = f"""
import os, signal
from pathlib import Path
from vidpipe.stages.contract import StageContext
from vidpipe.stages.registry import build_graph
from vidpipe_tests.stages.scene_items import scene_item
from vidpipe_tests.stages.test_face_blurring import blurring

class Killed:
    version = "1"
    def call(self, request, cancelled):
        assert request["jpegs"][0].startswith(b"\\xff\\xd8")
        os.kill(os.getpid(), signal.SIGKILL)

settings = blurring(Path({str(home)!r}))
context = StageContext(settings, resources={{"faces_model": Killed()}})
list(build_graph(settings)["scenes"].function([scene_item(Path({str(clip)!r}))], context))
"""
    ended = subprocess.run([sys.executable, "-c", run], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    left = [path for path in blurring(home).derived_directory.rglob("*") if path.is_file()]
    assert left, "the folder of an unfinished frame pack"
    assert not any(b"\xff\xd8" in path.read_bytes() for path in left)


def test_the_spec_of_scenes_covers_blurring_only_when_it_is_on(module_home: Path) -> None:
    home = module_home
    plain, hidden = (Plan.make(build_graph(settings), settings) for settings in (Settings(home=home), blurring(home)))
    assert plain.specs["scenes"] == "0f2fefc9cd56def1"
    assert hidden.specs["scenes"] != plain.specs["scenes"]


def test_without_the_model_scenes_is_unavailable(home: Path) -> None:
    settings = blurring(home)
    plan = Plan.make(build_graph(settings), settings)
    fault = plan.unavailable["scenes"]
    assert isinstance(fault, UnavailableError)
    assert f"vidpipe models install {MODEL}" in fault.hint


@pytest.mark.soak
def test_no_face_of_a_real_clip_remains(clips_directory: Path, home: Path, models_directory: PackagedModels) -> None:
    models_directory.into(home, MODEL)
    pictures = blurred_scenes(clips_directory / "dj3.mp4", home).pictures
    model = build_resource("faces_model", Settings(home=home))
    assert isinstance(model, WorkerModel)
    try:
        answers = model.call({"jpegs": pictures, "min_confidence": 0.6}, threading.Event())
    finally:
        model.close()
    assert not any(answers)
    assert len(pictures) > 50
