"""Frame count, duration and rate are what a decode of the file gives, whatever its headers say."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidpipe.media import packets
from vidpipe.media.facts import MediaInfo
from vidpipe.media.frame_rate import measured_rate
from vidpipe.media.probe import probe
from vidpipe_tests import clips
from vidpipe_tests.media.decoded_timing import decoded_timing

_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-threads", "1")
_FRAGMENTED = {
    "whole": (),
    "fragments": ("-movflags", "frag_keyframe+empty_moov"),
    "first fragment in the index": ("-movflags", "frag_keyframe"),
    "dash": ("-movflags", "dash+frag_keyframe+empty_moov+delay_moov"),
}


@st.composite
def encodings(draw: st.DrawFn) -> dict[str, Any]:
    suffix = draw(st.sampled_from([".mp4", ".mov", ".mkv", ".ts", ".flv", ".avi"]))
    return {
        "suffix": suffix,
        "rate": draw(st.sampled_from(["24000/1001", "25", "30000/1001", "60", "10", "25/2", "1", "50"])),
        "frames": draw(st.integers(1, 40)),
        # AVI has no start time: ffmpeg fills the time before with a longer first frame
        "start_s": 0 if suffix == ".avi" else draw(st.sampled_from([0, 0.5, 7.25])),
        "b_frames": 0 if suffix == ".avi" else draw(st.integers(0, 3)),
        "key_interval": draw(st.integers(3, 50)),
        "skipped_frames": draw(st.integers(0, 12)),
        "fragments": draw(st.sampled_from(sorted(_FRAGMENTED))) if suffix in (".mp4", ".mov") else "whole",
    }


def encoded(folder: Path, how: dict[str, Any]) -> Path:
    """A clip that is encoded, and then, where frames are to be skipped, cut without being encoded again."""
    fragments = _FRAGMENTED[how["fragments"]]
    whole = clips.ffmpeg(
        folder / f"whole{how['suffix']}", "-itsoffset", str(how["start_s"]),
        "-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={how['rate']}", "-frames:v", str(how["frames"]), *_X264,
        "-bf", str(how["b_frames"]), "-g", str(how["key_interval"]), *(() if how["skipped_frames"] else fragments),
    )  # fmt: skip
    skipped_s = float(how["skipped_frames"] / Fraction(how["rate"]))
    if not skipped_s or how["skipped_frames"] >= how["frames"]:
        return whole
    return clips.ffmpeg(
        folder / f"cut{how['suffix']}", "-ss", str(skipped_s), "-i", str(whole), "-c", "copy", *fragments
    )


def check_against_a_decode(folder: Path, how: dict[str, Any]) -> None:
    path = encoded(folder, how)
    try:
        frames, duration_s = decoded_timing(path)
    except (KeyError, IndexError, subprocess.CalledProcessError):
        return  # nothing was left by the cut, or its times cannot be told
    info = probe(path)
    interval_s = float(1 / Fraction(how["rate"]))
    assert info.frame_count == frames
    assert info.duration_s == pytest.approx(duration_s, abs=max(0.002, 0.02 * interval_s))
    if frames > 2:
        assert not info.variable_frame_rate
        assert info.frame_rate == pytest.approx(1 / interval_s, rel=0.002 if frames > 10 else 0.02)


@given(how=encodings())
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_count_and_duration_are_those_of_a_decode(
    tmp_path_factory: pytest.TempPathFactory, how: dict[str, Any]
) -> None:
    check_against_a_decode(tmp_path_factory.mktemp("clip"), how)


@pytest.mark.soak
@given(how=encodings())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_count_and_duration_are_those_of_a_decode_for_many(
    tmp_path_factory: pytest.TempPathFactory, how: dict[str, Any]
) -> None:
    check_against_a_decode(tmp_path_factory.mktemp("clip"), how)


def timing_of(info: MediaInfo) -> tuple[int | None, float | None, str | None, bool]:
    duration_s = None if info.duration_s is None else round(info.duration_s, 2)
    return info.frame_count, duration_s, info.frame_rate_exact, info.variable_frame_rate


def transport_stream(path: Path, *, start_s: float = 0.0, seconds: float = 2.0, sound: bool = True) -> Path:
    audio = ("-f", "lavfi", "-t", str(seconds), "-i", "sine", "-c:a", "mp2") if sound else ()
    return clips.ffmpeg(
        path, "-f", "lavfi", "-t", str(seconds), "-i", "testsrc2=size=64x48:rate=25", *audio, *_X264, "-bf", "2",
        "-g", "25", "-output_ts_offset", str(start_s), "-f", "mpegts",
    )  # fmt: skip


@pytest.mark.parametrize(("first_s", "second_s"), [(0, 5000), (0, 0), (5000, 0), (0, 30)])
def test_a_clock_that_jumps_makes_a_video_no_longer(tmp_path: Path, first_s: float, second_s: float) -> None:
    first = transport_stream(tmp_path / "1.ts", start_s=first_s, seconds=3)
    second = transport_stream(tmp_path / "2.ts", start_s=second_s)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    info = probe(joined)
    assert timing_of(info) == (125, 5.0, "25/1", False)
    assert info.clock_jumps == 1
    assert info.notes[0].startswith("The clock of the stream jumps once")
    assert info.bit_rate == pytest.approx(joined.stat().st_size * 8 / 5, rel=0.05)


@pytest.mark.parametrize("sound", [True, False])
def test_a_hole_on_a_clock_that_runs_on_stays_a_hole(tmp_path: Path, sound: bool) -> None:
    audio = ("-f", "lavfi", "-t", "20", "-i", "sine", "-c:a", "mp2") if sound else ()
    path = clips.ffmpeg(
        tmp_path / "hole.ts", "-f", "lavfi", "-t", "20", "-i", "testsrc2=size=64x48:rate=25", *audio,
        "-vf", "select='lt(n,50)+gte(n,450)'", "-fps_mode", "vfr", *_X264, "-f", "mpegts",
    )  # fmt: skip
    info = probe(path)
    assert (info.frame_count, info.duration_s, info.clock_jumps) == (100, pytest.approx(20.0, abs=0.01), 0)
    assert info.variable_frame_rate


def test_a_clock_that_wraps_around_does_not_jump(tmp_path: Path) -> None:
    info = probe(transport_stream(tmp_path / "wrap.ts", start_s=2**33 / 90000 - 2.4))
    assert timing_of(info) == (50, 2.0, "25/1", False)


@pytest.mark.parametrize("suffix", [".mkv", ".flv", ".ts", ".mp4"])
def test_the_rate_of_a_clock_is_no_frame_rate(tmp_path: Path, suffix: str) -> None:
    """The time base in the H.264 stream says 1000 pictures a second."""
    info = probe(
        clips.ffmpeg(
            tmp_path / f"a{suffix}", "-f", "lavfi", "-t", "2", "-i", "testsrc2=size=64x48:rate=30", *_X264, "-bf", "2",
            "-bsf:v", "h264_metadata=tick_rate=2000",
        )
    )  # fmt: skip
    assert timing_of(info) == (60, 2.0, "30/1", False)
    assert info.nominal_frame_rate == "30/1"


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
def test_pictures_without_a_presentation_time_do_not_make_a_rate_variable(tmp_path: Path, codec: str) -> None:
    source = "testsrc2=size=64x48:rate=25"
    info = probe(clips.ffmpeg(tmp_path / "a.mpg", "-f", "lavfi", "-t", "3", "-i", source, "-c:v", codec, "-bf", "2"))
    assert timing_of(info) == (75, 3.0, "25/1", False)


def test_statistics_tags_are_not_believed(tmp_path: Path) -> None:
    info = probe(
        clips.moving(
            tmp_path / "stale.mkv",
            options=["-metadata:s:v", "NUMBER_OF_FRAMES=5000", "-metadata:s:v", "DURATION=00:03:20.000000000"],
        )
    )
    assert timing_of(info) == (50, 2.0, "25/1", False)


def test_what_an_edit_list_hides_is_not_counted(tmp_path: Path) -> None:
    whole = clips.moving(tmp_path / "whole.mp4", options=["-g", "250", "-bf", "2"])
    info = probe(clips.ffmpeg(tmp_path / "cut.mp4", "-ss", "1.96", "-i", str(whole), "-c", "copy"))
    assert timing_of(info) == (1, 0.04, "25/1", False)


def test_what_comes_before_the_first_key_frame_is_neither_counted_nor_lost_silently(tmp_path: Path) -> None:
    whole = transport_stream(tmp_path / "whole.ts", seconds=4, sound=False).read_bytes()
    tables, packets_of_video = whole[: 3 * 188], whole[3 * 188 :]
    path = tmp_path / "begun.ts"
    path.write_bytes(tables + packets_of_video[len(packets_of_video) // 188 // 8 * 188 :])
    info = probe(path)
    frames, duration_s = decoded_timing(path)
    assert (info.frame_count, info.duration_s) == (frames, pytest.approx(duration_s, abs=0.002))
    assert frames == 75


def packets_as(monkeypatch: pytest.MonkeyPatch, rows: Iterable[str]) -> None:
    """ffprobe's listing of packets: stream, pts, dts, duration, position, flags."""

    def listed(command: Sequence[str], *, timeout_s: float) -> Iterator[bytes]:
        return iter([f"{row}\n".encode() for row in rows] if "packet=" in " ".join(command) else [])

    monkeypatch.setattr(packets, "lines", listed)


@pytest.mark.parametrize("second_field_has_times", [True, False])
def test_two_fields_are_one_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, second_field_has_times: bool
) -> None:
    """As broadcasts in H.264 have them, which no encoder here makes."""
    rows = []
    for picture in range(25):
        start_s = picture * 0.04
        second = f"{start_s + 0.02:.6f},{start_s + 0.02:.6f}" if second_field_has_times else "N/A,N/A"
        rows += [
            f"0,{start_s:.6f},{start_s:.6f},0.020000,1000,{'K_' if not picture else '__'}",
            f"0,{second},0.020000,N/A,__",
        ]
    packets_as(monkeypatch, rows)
    (tmp_path / "a.ts").touch()
    found = packets.read_packets(tmp_path / "a.ts", 0, "mpegts", field_s=0.02)
    assert found is not None
    assert (found.count, found.times_s[-1], found.durations_s[-1]) == (25, 0.96, 0.04)


@pytest.mark.parametrize(
    ("suffix", "options"), [(".flv", ()), (".mkv", ()), (".avi", ()), (".mp4", ("-movflags", "+faststart"))]
)
def test_a_file_that_holds_less_than_it_announces_is_truncated(
    tmp_path: Path, suffix: str, options: Sequence[str]
) -> None:
    whole = clips.moving(tmp_path / f"whole{suffix}", seconds=6, audio="sine", options=options)
    assert probe(whole).announced_duration_s is None
    data = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: len(data) // 2])
    info = probe(cut)
    assert info.announced_duration_s == pytest.approx(6.0, abs=0.1)
    assert info.duration_s is not None
    assert 2 < info.duration_s < 4


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".flv", ".avi"])
def test_sound_that_is_longer_than_the_picture_is_no_truncation(tmp_path: Path, suffix: str) -> None:
    path = clips.ffmpeg(
        tmp_path / f"long{suffix}", "-f", "lavfi", "-t", "1", "-i", "testsrc2=size=64x48:rate=25",
        "-f", "lavfi", "-t", "6", "-i", "sine", *_X264,
    )  # fmt: skip
    info = probe(path)
    assert (info.announced_duration_s, info.frame_count) == (None, 25)
    assert info.duration_s == pytest.approx(1.0, abs=0.05)


def test_a_stream_that_is_declared_without_a_packet_is_empty(tmp_path: Path) -> None:
    whole = transport_stream(tmp_path / "whole.ts")
    info = probe(
        clips.ffmpeg(
            tmp_path / "empty.ts", "-i", str(whole), "-map", "0", "-c", "copy", "-frames:a", "0", "-f", "mpegts"
        )
    )
    assert [stream.empty for stream in info.audio] == [True]
    assert info.notes == (f"Audio stream 1 ({info.audio[0].codec}) is declared but holds no packets.",)


@pytest.mark.parametrize(
    ("times_s", "constant", "rate"),
    [
        ([0, 0.033, 0.067, 0.1, 0.133], True, Fraction(30)),
        ([number / 25 for number in range(40)] + [number / 25 for number in range(42, 60)], True, Fraction(25)),
        ([number / 25 for number in range(50)] + [6 + number / 25 for number in range(50)], False, None),
        ([0, 0.04, 0.08, 0.18, 0.22, 0.36, 0.4], False, None),
        ([0, 10, 20, 30], True, Fraction(1, 10)),
        ([number * 1001 / 24000 for number in range(100)], True, Fraction(24000, 1001)),
    ],
    ids=["milliseconds", "two frames lost", "a hole", "a phone", "slides", "film"],
)
def test_a_rate_is_exact_where_it_is_constant(times_s: list[float], constant: bool, rate: Fraction | None) -> None:
    found = measured_rate(times_s, [Fraction(1000), None], times_s[-1] + 0.04)
    assert found is not None
    assert found.constant == constant
    if rate:
        assert found.average == rate


@pytest.mark.parametrize("duration_bytes", [struct.pack(">d", 9.9e300), struct.pack(">d", float("nan"))])
def test_an_absurd_duration_in_a_header_does_no_harm(tmp_path: Path, duration_bytes: bytes) -> None:
    path = clips.moving(tmp_path / "a.mkv")
    data = path.read_bytes()
    place = data.index(b"\x44\x89\x88") + 3  # Duration, eight bytes
    path.write_bytes(data[:place] + duration_bytes + data[place + 8 :])
    assert timing_of(probe(path)) == (50, 2.0, "25/1", False)
