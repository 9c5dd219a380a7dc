"""Every packed frame is examined once, in order and in batches; faults are told, and a stopped run stops."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from vidpipe.errors import MediaError
from vidpipe.media.facts import PackedFrame, Scene, SceneStats
from vidpipe.media.frame_pack import FRAMES, MANIFEST, FramePack
from vidpipe.models.installed import InstalledModel
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.stages.analyses.packed_frames import READS, examine, seconds_of_frames
from vidpipe.stages.contract import Cancelled, Item, StageContext
from vidpipe_tests.clips import color_cuts
from vidpipe_tests.stages.scene_items import scenes_of


def load_sizes(**_: Any) -> Callable[[dict[str, Any]], list[int]]:
    """The model of these tests: answers with the sizes of the JPEGs, or as many numbers as `answers` says."""
    return lambda request: [len(jpeg) for jpeg in request["jpegs"]][: request.get("answers")]


@pytest.fixture(scope="module")
def model() -> Iterator[WorkerModel]:
    installed = InstalledModel("sizes", "1", Path(), {})
    worker = WorkerModel([installed], f"{__name__}:load_sizes", {}, threads=1)
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Item, Settings]:
    """Three scenes of one color each."""
    home = tmp_path_factory.mktemp("home")
    found = scenes_of(color_cuts(home / "clip.mp4"), home)
    return Item("a" * 64, {name: getattr(found, name.removeprefix("scenes.")) for name in READS}), Settings(home=home)


def test_every_frame_comes_once_in_order_of_time(packed: tuple[Item, Settings], model: WorkerModel) -> None:
    item, settings = packed
    progress: list[float] = []
    context = StageContext(settings, progress=lambda _, fraction: progress.append(fraction))
    for batch in (1, 5, 1000):
        progress.clear()
        found = list(examine(item, context, model, batch=batch))
        assert [frame for frame, _ in found] == list(FramePack(settings.resolve(item["scenes.pack"].path)).frames)
        assert [answer for _, answer in found] == [frame.length for frame, _ in found]
        assert progress == sorted(progress)
        assert progress[-1] == 1
        assert len(progress) == -(-len(found) // batch)
    assert sum(seconds_of_frames([frame for frame, _ in found], item["scenes.scenes"])) == pytest.approx(3.0)


def test_a_video_without_a_pack_has_no_frames(model: WorkerModel, home: Path) -> None:
    item = Item("a" * 64, dict.fromkeys(READS))
    assert list(examine(item, StageContext(Settings(home=home)), model, batch=4)) == []


def test_a_stopped_run_asks_the_model_no_more(packed: tuple[Item, Settings], model: WorkerModel) -> None:
    item, settings = packed
    cancelled = threading.Event()
    frames = examine(item, StageContext(settings, cancelled=cancelled), model, batch=2)
    assert next(frames)
    cancelled.set()
    assert next(frames)  # of the same answer
    with pytest.raises(Cancelled):
        next(frames)


@pytest.mark.parametrize("damage", ["removed", "cut short", "unreadable"])
def test_a_damaged_pack_is_an_error_that_says_what_to_do(
    packed: tuple[Item, Settings], model: WorkerModel, tmp_path: Path, damage: str
) -> None:
    item, settings = packed
    folder = tmp_path / "pack"
    shutil.copytree(settings.resolve(item["scenes.pack"].path), folder)
    if damage == "cut short":
        (folder / FRAMES).write_bytes(b"few")
    else:
        (folder / FRAMES).unlink()
    if damage == "unreadable":
        (folder / FRAMES).mkdir()
        (folder / MANIFEST).write_text(json.dumps({"frames": [_frames((0, 0))[0].model_dump()]}))
    reference = item["scenes.pack"].model_copy(update={"path": str(folder)})
    damaged = Item(item.sha256, {**item.fields, "scenes.pack": reference})
    with pytest.raises(MediaError, match="frame pack") as raised:
        list(examine(damaged, StageContext(settings), model, batch=4))
    assert "Run the scenes stage again" in raised.value.hint


def _frames(*placed: tuple[float, int]) -> list[PackedFrame]:
    return [PackedFrame(time_s=time_s, scene=scene, offset=0, length=1, width=8, height=8) for time_s, scene in placed]


def _scenes(*borders: float) -> list[Scene]:
    stats = SceneStats(brightness=0, contrast=0, saturation=0, motion=0)
    return [
        Scene(index=index, start_s=start, end_s=end, start_frame=0, end_frame=1, stats=stats)
        for index, (start, end) in enumerate(pairwise(borders))
    ]


def test_a_frame_stands_for_its_part_of_its_scene() -> None:
    frames = _frames((1.0, 0), (3.0, 0), (5.0, 2))
    assert seconds_of_frames(frames, _scenes(0, 4, 5, 9)) == [2.0, 2.0, 4.0]
    assert seconds_of_frames(_frames((0.0, 0)), _scenes(0, 0.1)) == [0.1]
    assert seconds_of_frames([], _scenes(0, 4)) == []
