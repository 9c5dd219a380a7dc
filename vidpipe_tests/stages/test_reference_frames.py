"""`Decode = auto` finds what `Decode = all` finds, on reference frames where a file allows it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest
from hypothesis import HealthCheck, given

from vidpipe.media import reference_decode
from vidpipe.media.interval_decoder import IntervalDecoder
from vidpipe.media.packet_times import PacketTimes
from vidpipe.settings import Settings
from vidpipe.settings.schema import SceneDetection
from vidpipe.stages import scene_analysis, scenes
from vidpipe.stages.contract import Cancelled, StageContext, StageError
from vidpipe.stages.results import Scenes
from vidpipe_tests import clips
from vidpipe_tests.media.test_timing import encoded_and_decoded, encodings
from vidpipe_tests.stages.scene_items import scene_item, scenes_of, starts
from vidpipe_tests.unusual_streams import NAMES, unusual

PARTIAL = ("h264_plain", "h264_pyramid", "h264_pyramid_strict", "h264_one_key", "h264_fragments", "h264_flv", "h264_ts",
           "h265_pyramid", "h265_layers", "h264_vfr")  # fmt: skip
#: Open groups, fields, missing references, no timestamps, no B-frames, codecs without frames to skip.
COMPLETE = ("h265_open_gop", "h264_mbaff", "h264_fields_mp4", "h264_fields_ts", "h265_cut_mkv", "h264_avi", "h264_raw",
            "h264_no_b", "h264_all_intra", "mpeg2_ts", "prores", "mjpeg", "dv", "vp9_altref", "av1_svt")  # fmt: skip
QUICK = ("h264_pyramid", "h264_one_key", "h265_pyramid", "h265_open_gop", "h264_mbaff", "h264_avi", "prores")
#: Largest distance between two reference frames of the clip `moving`.
REFERENCE_S = 0.32
#: The autouse fixture is the same for all examples.
_FIXTURES = [HealthCheck.function_scoped_fixture]
STATISTICS = ("brightness", "contrast", "saturation", "motion", "dark_share", "colored_share", "moving_share")


@pytest.fixture(autouse=True)
def small_clips_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clips of these tests are so short that all their frames would be decoded."""
    monkeypatch.setattr(scene_analysis, "_MIN_REFERENCE_PIXELS", 0)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five shots with cuts within groups of pictures, and sound."""
    return unusual(tmp_path_factory.mktemp("moving"), "h264_pyramid")


def same_findings(path: Path, home: Path, **options: Any) -> tuple[Scenes, Scenes]:
    """The results of both ways of decoding, which must be alike."""
    every = scenes_of(path, home / "all", decode="all", **options)
    auto = scenes_of(path, home / "auto", **options)
    assert starts(auto) == pytest.approx(starts(every), abs=1)
    assert (auto.count, auto.duration_s) == (every.count, pytest.approx(every.duration_s, abs=0.001))
    assert auto.scenes[-1].end_frame == every.scenes[-1].end_frame
    # decoder threads report in any order
    found, expected = [damage and (damage.errors, {*damage.messages}) for damage in (auto.damage, every.damage)]
    assert found == expected
    assert auto.stats is not None
    for name in STATISTICS:
        assert getattr(auto.stats, name) == pytest.approx(getattr(every.stats, name), rel=0.05, abs=0.01), name
    return auto, every


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.soak) for name in (*PARTIAL, *COMPLETE)]
)
def test_both_ways_find_the_same_in_streams_of_every_kind(tmp_path: Path, name: str) -> None:
    assert name in NAMES
    auto, every = same_findings(unusual(tmp_path, name), tmp_path)
    assert auto.decoded == ("partial" if name in PARTIAL else "all")
    assert every.decoded == "all"
    assert (auto.frames_decoded < every.frames_decoded) is (name in PARTIAL)
    assert auto.count == (4 if "cut" in name else 5)


@pytest.mark.parametrize("name", ["bikes.mp4", "nasa.mp4", "dj1.mp4", "dj2.mp4", "dj3.mp4", "pancake.mkv"])
def test_both_ways_find_the_same_in_real_clips(tmp_path: Path, clips_directory: Path, name: str) -> None:
    same_findings(clips_directory / name, tmp_path)


def test_content_finds_the_same_both_ways_and_other_detectors_get_every_frame(tmp_path: Path, moving: Path) -> None:
    auto, _ = same_findings(moving, tmp_path, detector="content")
    assert auto.decoded == "partial"
    for detector in ("histogram", "hash", "threshold", "ffmpeg"):
        assert scenes_of(moving, tmp_path / detector, detector=detector).decoded == "all"


def test_thumbnails_and_model_frames_are_at_most_one_reference_frame_off(tmp_path: Path, moving: Path) -> None:
    auto, every = same_findings(moving, tmp_path)
    for one, other in zip(auto.thumbnails, every.thumbnails, strict=True):
        assert one.time_s == pytest.approx(other.time_s, abs=REFERENCE_S)
    # the end is sampled more densely than there are reference frames
    assert [scene.frames for scene in auto.scenes[:-1]] == [scene.frames for scene in every.scenes[:-1]]


def test_small_or_slow_videos_are_decoded_completely(
    tmp_path: Path, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert scenes_of(moving, tmp_path).decoded == "all"


def test_a_rotated_hdr_or_full_range_picture_looks_the_same_to_both_decoders(tmp_path: Path, moving: Path) -> None:
    rotated = clips.ffmpeg(tmp_path / "rotated.mp4", "-i", str(moving), "-c", "copy", "-metadata:s:v", "rotate=90")
    source = (
        "-i",
        str(moving),
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-bf",
        "3",
        "-g",
        "150",
        "-sc_threshold",
        "0",
    )
    full_range = clips.ffmpeg(tmp_path / "range.mp4", *source, "-pix_fmt", "yuvj420p", "-colorspace", "bt709")
    hdr = clips.ffmpeg(tmp_path / "hdr.mp4", *source, "-pix_fmt", "yuv420p10le", "-color_trc", "arib-std-b67",
                       "-colorspace", "bt2020nc", "-color_primaries", "bt2020")  # fmt: skip
    for path in (rotated, full_range, hdr):
        auto, _ = same_findings(path, tmp_path / path.stem, detector="content")
        assert auto.decoded == "partial", path.name


def test_damage_is_reported_as_by_a_full_decode(tmp_path: Path, moving: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    data = bytearray(moving.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    damaged.write_bytes(data)
    auto, _ = same_findings(damaged, tmp_path)
    assert auto.decoded == "all"
    assert auto.damage is not None


def test_a_decoder_that_dies_costs_a_full_decode_and_nothing_else(
    tmp_path: Path, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = IntervalDecoder.request

    def killed(self: IntervalDecoder, *arguments: Any, **options: Any) -> None:
        self._process.kill()
        self._process.wait()
        request(self, *arguments, **options)

    monkeypatch.setattr(IntervalDecoder, "request", killed)
    auto, _ = same_findings(moving, tmp_path)
    assert auto.decoded == "all"


def test_a_decoder_that_hangs_is_ended_at_the_time_limit(
    tmp_path: Path, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = IntervalDecoder.request

    def suspended(self: IntervalDecoder, *arguments: Any, **options: Any) -> None:
        psutil.Process(self._process.pid).suspend()
        request(self, *arguments, **options)

    monkeypatch.setattr(IntervalDecoder, "request", suspended)
    settings = Settings(home=tmp_path, scene_detection=SceneDetection(timeout_factor=0.001))
    with pytest.raises(StageError, match="time limit") as raised:
        scene_analysis.analyze_scenes(scene_item(moving), StageContext(settings=settings), min_time_limit_s=2)
    assert raised.value.transient


def test_an_answer_of_another_length_costs_a_full_decode(
    tmp_path: Path, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = IntervalDecoder.frames
    monkeypatch.setattr(IntervalDecoder, "frames", lambda self: frames(self)[1:])
    assert same_findings(moving, tmp_path)[0].decoded == "all"


def test_frames_that_share_a_time_are_all_decoded(tmp_path: Path, moving: Path) -> None:
    path = tmp_path / "twice.mp4"
    clips.ffmpeg(path, "-i", str(moving), "-c", "copy", "-bsf:v", "setts=pts=PTS/25:dts=DTS/25")
    assert same_findings(path, tmp_path)[0].decoded == "all"


def test_a_video_whose_sound_has_no_decoder_is_decoded_without_it(tmp_path: Path, moving: Path) -> None:
    path = tmp_path / "sound.mp4"
    clips.ffmpeg(path, "-f", "lavfi", "-i", "sine=duration=8", "-i", str(moving), "-c:v", "copy", "-c:a", "aac")
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"mhm1").replace(b"esds", b"free"))
    auto, _ = same_findings(path, tmp_path)
    assert (auto.decoded, auto.count) == ("partial", 5)


def test_too_many_possible_cuts_are_decoded_completely(
    tmp_path: Path, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_decode, "_FREE_FRAMES", 10)
    monkeypatch.setattr(reference_decode, "_MAX_SHARE", 0.01)
    auto, _ = same_findings(moving, tmp_path)
    assert auto.decoded == "all"


def test_a_stopped_run_leaves_no_process(tmp_path: Path, moving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = threading.Event()
    request = IntervalDecoder.request

    def stopped(self: IntervalDecoder, *arguments: Any, **options: Any) -> None:
        psutil.Process(self._process.pid).suspend()
        cancelled.set()
        request(self, *arguments, **options)

    monkeypatch.setattr(IntervalDecoder, "request", stopped)
    settings = Settings(home=tmp_path, scene_detection=SceneDetection())
    with pytest.raises(Cancelled):
        list(scenes.STAGE.function([scene_item(moving)], StageContext(settings=settings, cancelled=cancelled)))
    assert not [child for child in psutil.Process().children() if "interval_worker" in " ".join(child.cmdline())]


def test_hardware_that_is_not_there_is_replaced_by_software_and_the_result_says_so(
    tmp_path: Path, moving: Path
) -> None:
    for hardware in ("auto", "cuda", "vaapi"):
        found = scenes_of(moving, tmp_path / hardware, hw_accel=hardware)
        assert (found.decoder, found.count) == ("software", 5)


def _listed(lines: bytes) -> PacketTimes:
    packets = PacketTimes()
    os.write(packets.writers[0], lines)
    packets.close_writers()
    packets.start()
    packets.join()
    return packets


@pytest.fixture
def packets() -> Iterator[PacketTimes]:
    """Two groups of pictures in decoding order: 0 3 1 2, 4 7 5 6, of which an edit list hides the last."""
    lines = b"#tb 0: 1/10\n"
    for dts, pts in enumerate((0, 3, 1, 2, 4, 7, 5, 6)):
        flags = {0: b"", 4: b"", 6: b", F=0x4"}.get(pts, b", F=0x0")
        lines += b"0, %10d, %10d, 1, 100, 0x00000000" % (dts - 1, pts) + flags + b"\n"
    listed = _listed(lines)
    yield listed
    listed.close()


def test_packet_times_are_counted_and_numbered_in_presentation_order(packets: PacketTimes) -> None:
    assert (packets.count, packets.unsuitable) == (7, "")
    assert packets.between(100_000, 300_000) == [100_000, 200_000, 300_000]
    assert (packets.key_before(390_000), packets.key_before(700_000)) == (0, 400_000)
    assert [packets.number(time_us) for time_us in (0, 200_000, 700_000)] == [0, 2, 6]
    assert packets.between(0, 300_000) == []


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([(0, 4, True), (1, 2, False)], "shown before it"),
        ([(0, 0, True), (1, -(1 << 63), False)], "no presentation time"),
        ([(0, 0, True), (1, 1, False), (2, 1, False)], "share a time"),
        ([(0, 0, True), *((number, 100 - number, False) for number in range(40))], "not in decoding order"),
    ],
)
def test_a_list_of_packets_that_cannot_be_used_is_noticed(times: list[tuple[int, int, bool]], reason: str) -> None:
    lines = [f"0, {dts}, {pts}, 1, 9, 0x0{'' if key else ', F=0x0'}" for dts, pts, key in times]
    listed = _listed("\n".join(["#tb 0: 1/10", *lines, "0, 1"]).encode())
    assert reason in listed.unsuitable
    listed.close()


def check_timing(folder: Path, how: dict[str, Any]) -> None:
    clip = encoded_and_decoded(folder, how)
    if clip is None:
        return
    path, count, duration_s = clip
    for mode in ("all", "auto"):
        found = scenes_of(path, folder / mode, decode=mode)
        assert found.scenes[-1].end_frame == count, mode
        assert found.duration_s == pytest.approx(duration_s, abs=max(0.002, 0.02 / float(Fraction(how["rate"])))), mode


@given(how=encodings())
@hypothesis.settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=_FIXTURES)
def test_count_and_duration_are_those_of_a_decode_in_both_ways(
    tmp_path_factory: pytest.TempPathFactory, how: dict[str, Any]
) -> None:
    check_timing(tmp_path_factory.mktemp("clip"), how)


@pytest.mark.soak
@given(how=encodings())
@hypothesis.settings(max_examples=40, deadline=None, suppress_health_check=_FIXTURES)
def test_count_and_duration_of_many_encodings(tmp_path_factory: pytest.TempPathFactory, how: dict[str, Any]) -> None:
    check_timing(tmp_path_factory.mktemp("clip"), how)
