"""Light, colour names, motion and sound are what the picture and the samples say."""

from __future__ import annotations

import math
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from vidpipe.media.decode import DecodePass
from vidpipe.media.decode_plan import plan_decode
from vidpipe.media.probe import probe
from vidpipe.media.scene_pass import SceneTimeline
from vidpipe.media.scene_stats import (
    COLOR_NAMES,
    FLOOR_DBFS,
    FrameMeter,
    SoundBlock,
    Sums,
    add_sound,
    block_power,
    color_shares,
    level_dbfs,
    no_sums,
    scene_light_profile,
    scene_stats,
    set_duration,
    without_bars,
)
from vidpipe.settings.schema import SceneDetection
from vidpipe_tests import clips


@pytest.mark.parametrize(
    ("name", "rgb"),
    [
        ("black", (0, 0, 0)), ("white", (255, 255, 255)), ("gray", (128, 128, 128)), ("red", (220, 20, 20)),
        ("orange", (255, 140, 0)), ("brown", (120, 70, 20)), ("yellow", (250, 240, 40)), ("green", (30, 160, 40)),
        ("cyan", (0, 220, 230)), ("blue", (20, 40, 200)), ("purple", (130, 20, 180)), ("pink", (255, 170, 190)),
    ],
)  # fmt: skip
def test_colors_have_the_names_people_use(name: str, rgb: tuple[int, int, int]) -> None:
    picture = np.full((4, 4, 3), rgb[::-1], np.uint8)
    assert color_shares(picture)[COLOR_NAMES.index(name)] == 1


def sums_of(pictures: Sequence[NDArray[np.uint8]], rate: float = 25) -> Sums:
    meter, total = FrameMeter(), None
    for number, picture in enumerate(pictures):
        sums = meter.measure(picture, round(number * 1e6 / rate))
        set_duration(sums, 1 / rate)
        total = sums if total is None else total + sums
    assert total is not None
    return total


def test_statistics_of_a_picture_half_white_half_black() -> None:
    picture = np.zeros((90, 160, 3), np.uint8)
    picture[:, :80] = 255
    found = scene_stats(sums_of([picture] * 3), sound=False)
    assert (found.brightness, found.contrast, found.saturation, found.motion) == (0.5, 0.5, 0, 0)
    assert {color.name: color.share for color in found.colors} == {"black": 0.5, "white": 0.5}
    assert found.loudness_db is None


@pytest.mark.parametrize("source", ["testsrc2", "testsrc"])
def test_motion_does_not_depend_on_the_frame_rate(source: str) -> None:
    def motion(rate: int) -> float:
        command = [
            "ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"{source}=rate=120,hue=h=20*t,fps={rate}",
            "-t", "3", "-vf", "scale=160:90", "-f", "rawvideo", "-pix_fmt", "bgr24", "-",
        ]  # fmt: skip
        raw = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        return scene_stats(
            sums_of(list(np.frombuffer(raw, np.uint8).reshape(-1, 90, 160, 3)), rate), sound=False
        ).motion

    found = [motion(rate) for rate in (12, 24, 60)]
    assert found == pytest.approx([found[1]] * 3, rel=0.1)


class Frames(NamedTuple):
    """All frames of a video, with their times from the first one, and which of them are reference frames."""

    pictures: list[NDArray[np.uint8]]
    times_us: list[int]
    references: set[int]
    end_us: int


def decoded(path: Path) -> Frames:
    info = probe(path)
    plan = plan_decode(SceneDetection(), video_stream=info.video_stream, width=info.width, height=info.height)
    with DecodePass(path, plan, time_limit_s=60, cancelled=threading.Event()) as decode:
        frames = list(decode.frames())
    command = [
        "ffprobe", "-v", "quiet", "-skip_frame", "noref", "-select_streams", str(info.video_stream),
        "-show_entries", "frame=best_effort_timestamp_time", "-of", "csv=p=0", str(path),
    ]  # fmt: skip
    lines = subprocess.run(command, capture_output=True, check=True, timeout=60, text=True).stdout.split()
    references = [round(float(line.rstrip(",")) * 1e3) for line in lines]
    times_us = [frame.time_us - frames[0].time_us for frame in frames]
    last_gap_us = times_us[-1] - times_us[-2]
    return Frames(
        [frame.bgr for frame in frames], times_us, {time - references[0] for time in references},
        times_us[-1] + last_gap_us,
    )  # fmt: skip


def scene_sums(video: Frames, cuts_us: Sequence[int], *, everything: bool) -> list[Sums]:
    """Measure all frames, or reference frames and those near cuts."""
    meter, timeline, cuts = FrameMeter(), SceneTimeline(), list(cuts_us)
    for picture, time_us in zip(video.pictures, video.times_us, strict=True):
        near = any(abs(time_us - cut_us) < 400_000 for cut_us in cuts_us)
        if everything or near or round(time_us / 1e3) in video.references:
            timeline.add_frame(time_us, meter.measure(picture, time_us))
            if cuts and time_us > cuts[0] + 300_000:
                assert timeline.cut(cuts.pop(0))
            timeline.settle(time_us - 500_000)
    for cut_us in cuts:
        assert timeline.cut(cut_us)
    timeline.finish((video.end_us - timeline.last_us) / 1e6)
    return [scene.sums for scene in timeline.scenes]


def shares(sums: Sums) -> dict[str, float]:
    found = scene_stats(sums, sound=False).model_dump(exclude_none=True)
    return {color["name"]: color["share"] for color in found.pop("colors")} | found


def assert_references_suffice(video: Frames, cuts_us: Sequence[int] = ()) -> None:
    full, part = (scene_sums(video, cuts_us, everything=everything) for everything in (True, False))
    assert len(full) == len(part) == len(cuts_us) + 1
    for scene, (all_sums, some_sums) in enumerate(zip([*full, sum(full)], [*part, sum(part)], strict=True)):
        expected, found = shares(all_sums), shares(some_sums)
        for name in expected.keys() & found.keys():  # only the five most frequent colors are listed
            tolerance = 0.0005 if name == "motion" else 0.01
            assert found[name] == pytest.approx(expected[name], rel=0.05, abs=tolerance), (scene, name)
        lines, some_lines = (profile[1:] / profile[0] for profile in map(scene_light_profile, (all_sums, some_sums)))
        assert np.abs(lines - some_lines).mean() < 0.01


@pytest.mark.parametrize(
    "codec",
    [
        ("libx264", "-bf", "3"),
        ("libx264", "-bf", "3", "-b_strategy", "0", "-x264-params", "b-pyramid=none"),
        ("libx265", "-bf", "3", "-x265-params", "log-level=error"),
    ],
    ids=["x264", "x264 without pyramid", "x265"],
)
def test_reference_frames_give_the_same_statistics(tmp_path: Path, codec: tuple[str, ...]) -> None:
    """Three scenes; frames between references are missing except near cuts."""
    clip = clips.ffmpeg(
        tmp_path / "clip.mp4", "-f", "lavfi", "-i", "testsrc=rate=25:size=320x180,hue=h=20*t,rotate=t/2",
        "-f", "lavfi", "-i",
        "testsrc2=rate=25:size=320x180", "-f", "lavfi", "-i", "smptebars=rate=25:size=320x180,rotate=t/3",
        "-filter_complex", "[0]trim=duration=2.4[a];[1]trim=duration=1.1[b];[2]trim=duration=3[c];[a][b][c]concat=n=3",
        "-c:v", *codec, "-preset", "veryfast", "-threads", "1",
    )  # fmt: skip
    video = decoded(clip)
    assert len(video.references) < 0.6 * len(video.pictures)
    assert_references_suffice(video, (2_400_000, 3_500_000))


_REAL_CUTS_S = {"bikes.mp4": (1.2, 3.04, 5.48, 7.48, 9.68), "nasa.mp4": (5.08, 8.08), "dj1.mp4": (6.0, 9.875)}


def test_reference_frames_of_real_clips_give_the_same_statistics(clips_directory: Path) -> None:
    for path in sorted(clips_directory.iterdir()):
        if path.suffix in (".mp4", ".mkv", ".mov"):
            cuts_us = [round(cut_s * 1e6) for cut_s in _REAL_CUTS_S.get(path.name, ())]
            assert_references_suffice(decoded(path), cuts_us)


def test_the_shortest_scene_has_its_own_colors_and_no_motion_of_its_neighbors() -> None:
    """Two red frames between moving pictures, and the cuts become known late."""
    random = np.random.default_rng(5)
    pictures = [random.integers(0, 256, (90, 160, 3)).astype(np.uint8) for _ in range(60)]
    pictures[33:35] = [still((220, 20, 20))] * 2
    video = Frames(pictures, [number * 40_000 for number in range(60)], set(), 2_400_000)
    before, short, after = (shares(sums) for sums in scene_sums(video, (33 * 40_000, 35 * 40_000), everything=True))
    assert short["red"] == 1
    assert (short["contrast"], short["motion"], short["moving_share"]) == (0, 0, 0)
    assert after["motion"] == pytest.approx(before["motion"], rel=0.01)


def test_slides_at_one_frame_in_two_seconds_have_colors_and_little_motion() -> None:
    slides = [still((220, 20, 20)), still((20, 40, 200))] * 5
    found = shares(sums_of(slides, rate=0.5))
    assert (found["red"], found["blue"]) == (0.5, 0.5)
    assert 0 < found["motion"] < 0.02


@pytest.mark.parametrize("bar", [0, 16])
def test_bars_leave_no_trace_in_the_statistics(bar: int) -> None:
    """A scene that fades in, with and without bars that take 4 of 9 lines."""
    random = np.random.default_rng(5)
    shots = [(random.integers(0, 256, (50, 160, 3)) * (number / 20)).astype(np.uint8) for number in range(21)]
    barred = [np.pad(shot, ((20, 20), (0, 0), (0, 0)), constant_values=bar) for shot in shots]
    plain = scene_stats(sums_of(shots), sound=False)
    cleared = scene_stats(without_bars(sums_of(barred), 5 / 9, bar / 255), sound=False)
    for name in ("brightness", "contrast", "saturation", "motion"):
        assert getattr(cleared, name) == pytest.approx(getattr(plain, name), rel=0.02), name
    assert [color.name for color in cleared.colors] == [color.name for color in plain.colors]


def test_noise_in_black_is_no_colour() -> None:
    noise = np.random.default_rng(5).integers(0, 4, (90, 160, 3)).astype(np.uint8)
    assert scene_stats(sums_of([noise]), sound=False).saturation == 0


def still(rgb: tuple[int, int, int] = (128, 128, 128)) -> NDArray[np.uint8]:
    return np.full((90, 160, 3), rgb[::-1], np.uint8)


def test_pure_blue_is_not_dark_but_black_is_also_beside_bars() -> None:
    assert scene_stats(sums_of([still((0, 0, 255))]), sound=False).dark_share == 0
    assert scene_stats(sums_of([still((40, 40, 60))]), sound=False).dark_share == 1
    half = np.vstack([np.zeros((46, 160, 3), np.uint8), still()[:46]])
    assert scene_stats(sums_of([half]), sound=False).dark_share == 0.5
    assert scene_stats(without_bars(sums_of([half]), 0.5), sound=False).dark_share == 0


def test_a_small_spot_of_colour_for_a_moment_is_colour() -> None:
    grey = np.random.default_rng(5).integers(0, 256, (90, 160, 1)).astype(np.uint8).repeat(3, axis=2)
    photo = grey.copy()
    photo[40:44, 80:84] = (60, 90, 120)
    assert scene_stats(sums_of([grey] * 50), sound=False).colored_share == 0
    assert scene_stats(sums_of([grey] * 45 + [photo] * 5), sound=False).colored_share == pytest.approx(0.1, abs=0.02)
    tinted = np.clip(grey + np.array([3, 0, -3]), 0, 255).astype(np.uint8)
    assert scene_stats(sums_of([tinted] * 5), sound=False).colored_share == 0


def test_several_vivid_colours_are_colourful_one_or_dim_ones_are_not() -> None:
    bars = np.hstack([still(rgb)[:, :40] for rgb in ((220, 20, 20), (20, 180, 40), (30, 40, 220), (128, 128, 128))])
    assert scene_stats(sums_of([bars]), sound=False).colorful_share == 1
    for dull in (still((0, 0, 255)), bars // 5, 110 + bars // 6):
        assert scene_stats(sums_of([dull]), sound=False).colorful_share == 0


def test_a_small_thing_that_moves_slowly_is_movement_and_noise_is_none() -> None:
    random = np.random.default_rng(5)
    strip = [still() for _ in range(50)]
    for number, picture in enumerate(strip):
        picture[20 + number // 10 : 23 + number // 10] = 160
    found = scene_stats(sums_of(strip), sound=False)
    assert found.motion < 0.001
    assert found.moving_share is not None
    assert found.moving_share == pytest.approx(0.2, abs=0.1)
    noise = [np.clip(still() + random.normal(0, 2, (90, 160, 3)), 0, 255).astype(np.uint8) for _ in range(25)]
    assert scene_stats(sums_of(noise), sound=False).moving_share == 0


def test_a_sine_of_half_amplitude_is_nine_db_down() -> None:
    wave = np.sin(np.arange(1600) * 2 * math.pi * 100 / 16_000) * 0.5 * 32767
    power = block_power(wave.astype("<i2").tobytes())
    assert level_dbfs(power) == pytest.approx(-9.03, abs=0.05)
    total = no_sums()
    for block in (power, power, 0.0, 0.0):
        add_sound(total, SoundBlock(0, block))
    found = scene_stats(total, sound=True)
    assert found.silence_share == 0.5
    assert found.loudness_db == pytest.approx(-12.0, abs=0.1)


def test_a_scene_after_the_end_of_the_sound_is_silent() -> None:
    found = scene_stats(no_sums(), sound=True)
    assert (found.loudness_db, found.silence_share) == (FLOOR_DBFS, 1.0)
