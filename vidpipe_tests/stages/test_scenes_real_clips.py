"""The scenes stage on footage that nobody here made: known cuts at their frames, codecs, rotation, damage."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from vidpipe.media.frame_pack import FramePack
from vidpipe.settings import Settings
from vidpipe_tests.stages.scene_items import scenes_of, starts


@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("bikes.mp4", [30, 76, 137, 187]), ("dj1.mp4", [144, 237]), ("nasa.mp4", [150, 240]),
        ("bigbuckbunny.mp4", []), ("dj2.mp4", []), ("pancake.mkv", []),
    ],
)  # fmt: skip
def test_known_cuts_are_found_at_their_frame(clips_directory: Path, home: Path, name: str, cuts: list[int]) -> None:
    assert starts(scenes_of(clips_directory / name, home)) == pytest.approx(cuts, abs=1)


@pytest.mark.parametrize("detector", ["content", "histogram", "ffmpeg"])
def test_other_detectors_find_hard_cuts_too(clips_directory: Path, home: Path, detector: str) -> None:
    found = starts(scenes_of(clips_directory / "bikes.mp4", home, detector=detector))
    assert {30, 137, 187} <= set(found)
    assert 242 not in found  # only 0.32 s before the end


@pytest.mark.parametrize(
    ("name", "frames", "duration_s"),
    [("av1.mkv", 125, 5.0), ("h265.mp4", 10, 1.0), ("h264_10bit.mp4", 30, 1.0), ("pancake.mkv", 310, 10.333)],
)
def test_every_codec_decodes_to_its_end(
    clips_directory: Path, home: Path, name: str, frames: int, duration_s: float
) -> None:
    result = scenes_of(clips_directory / name, home)
    assert result.frames_decoded == frames
    assert result.duration_s == pytest.approx(duration_s, abs=0.01)
    assert result.damage is None


def test_a_rotated_phone_video_stands_upright(clips_directory: Path, home: Path) -> None:
    result = scenes_of(clips_directory / "rotated90.mov", home)
    with Image.open(home / str(result.poster)) as picture:
        assert picture.size == (320, 568)
    assert result.pack is not None
    frame = FramePack(Settings(home=home).resolve(result.pack.path)).frames[0]
    assert frame.height > frame.width


def test_damaged_packets_are_told_and_the_rest_is_processed_alike_each_time(clips_directory: Path, home: Path) -> None:
    results = [scenes_of(clips_directory / "corrupted.mp4", home) for _ in range(3)]
    assert results[0].frames_decoded > 40
    assert results[0].damage is not None
    assert results[0].damage.errors > 0
    assert len({result.model_dump_json(exclude={"decode_seconds"}) for result in results}) == 1


@pytest.mark.parametrize("arguments", [("detect-adaptive", "-t", "3", "-f", "3"), ("detect-content", "-t", "31")])
@pytest.mark.parametrize("name", ["bikes.mp4", "dj3.mp4"])
def test_cuts_are_those_of_the_scenedetect_command(
    clips_directory: Path, home: Path, tmp_path: Path, name: str, arguments: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", "scenedetect", "-q", "-i", str(clips_directory / name), "-o", str(tmp_path)]
    command += ["-m", "0.6s", "--merge-last-scene", *arguments, "list-scenes", "-q", "-s"]
    subprocess.run(command, check=True, timeout=120)
    with next(tmp_path.glob("*.csv")).open(newline="") as table:
        expected = [int(row["Start Frame"]) - 1 for row in csv.DictReader(table)][1:]
    found = starts(scenes_of(clips_directory / name, home, detector=arguments[0].removeprefix("detect-")))
    assert found == pytest.approx(expected, abs=1)
