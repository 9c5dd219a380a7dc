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

from vidpipe.media import packet_list, packets
from vidpipe.media.facts import MediaInfo
from vidpipe.media.probe import probe
from vidpipe.media.timing import measured_rate
from vidpipe_tests import clips
from vidpipe_tests.media.decoded_timing import decoded_timing

_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-threads", "1")
_FRAGMENTED = {
    "whole": (),
    "fragments": ("-movflags", "frag_keyframe+empty_moov"),
    "first fragment in the index": ("-movflags", "frag_keyframe"),
    "dash": ("-movflags", "dash+frag_keyframe+empty_moov+delay_moov"),
}


_RATES = ("24000/1001", "25", "30000/1001", "50", "60")
_SLOW_RATES = ("10", "25/2", "1")
_MPEG2 = ("-c:v", "mpeg2video")
_VP8 = ("-c:v", "libvpx", "-deadline", "realtime")
_CODECS: dict[str, tuple[Sequence[str], ...]] = {
    ".mp4": (_X264,),
    ".mov": (_X264,),
    ".mkv": (_X264, _MPEG2, _VP8),
    ".webm": (_VP8,),
    ".ts": (_X264, _MPEG2),
    ".mpg": (_MPEG2,),
    ".flv": (_X264,),
    ".avi": (("-c:v", "mpeg4"),),
    ".wmv": (("-c:v", "wmv2"),),
}
#: Their times are counted in frames, or ffmpeg repeats frames in them.
_CONSTANT_ONLY = (".avi", ".mpg")


@st.composite
def encodings(draw: st.DrawFn) -> dict[str, Any]:
    suffix = draw(st.sampled_from(sorted(_CODECS)))
    codec = draw(st.sampled_from(_CODECS[suffix]))
    variable = suffix not in _CONSTANT_ONLY and codec != _MPEG2 and draw(st.booleans())
    return {
        "suffix": suffix,
        "codec": codec,
        "rate": draw(st.sampled_from(_RATES if codec == _MPEG2 else _RATES + _SLOW_RATES)),
        "variable": variable,
        "frames": draw(st.integers(1, 40)),
        # AVI has no start time: ffmpeg fills the time before with a longer first frame
        "start_s": 0 if suffix == ".avi" else draw(st.sampled_from([0, 0.5, 7.25])),
        "b_frames": draw(st.integers(0, 3)) if "264" in codec[1] or "mpeg" in codec[1] else 0,
        "open_groups": draw(st.booleans()),
        "key_interval": draw(st.integers(3, 50)),
        "skipped_frames": draw(st.integers(0, 12)),
        "kept_frames": None if variable else draw(st.none() | st.integers(1, 30)),
        "fragments": draw(st.sampled_from(sorted(_FRAGMENTED))) if suffix in (".mp4", ".mov") else "whole",
    }


def encoded(folder: Path, how: dict[str, Any]) -> Path:
    """A clip that is encoded, and then, where not all frames are wanted, cut without being encoded again."""
    fragments = _FRAGMENTED[how["fragments"]]
    skipped_s, kept_s = (
        float((how[name] or 0) / Fraction(how["rate"])) if (how[name] or 0) < how["frames"] else 0.0
        for name in ("skipped_frames", "kept_frames")
    )
    open_groups = ("-x264-params", "open-gop=1") if how["open_groups"] and how["codec"] == _X264 else ()
    dropped = ("-vf", "select='mod(n,3)+mod(n,5)'", "-fps_mode", "vfr") if how["variable"] else ()
    whole = clips.ffmpeg(
        folder / f"whole{how['suffix']}", "-itsoffset", str(how["start_s"]),
        "-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={how['rate']}", "-frames:v", str(how["frames"]), *dropped,
        *how["codec"], *open_groups, "-bf", str(how["b_frames"]), "-g", str(how["key_interval"]),
        *(() if skipped_s or kept_s else fragments),
    )  # fmt: skip
    if not skipped_s and not kept_s:
        return whole
    return clips.ffmpeg(
        folder / f"cut{how['suffix']}", "-ss", str(skipped_s), *(("-t", str(kept_s)) if kept_s else ()),
        "-i", str(whole), "-c", "copy", *fragments,
    )  # fmt: skip


def encoded_and_decoded(folder: Path, how: dict[str, Any]) -> tuple[Path, int, float] | None:
    """A clip, its number of frames and its duration in seconds as decoded; None if the cut left nothing."""
    path = encoded(folder, how)
    try:
        return path, *decoded_timing(path)
    except (KeyError, IndexError, subprocess.CalledProcessError):
        return None


def check_against_a_decode(folder: Path, how: dict[str, Any]) -> None:
    clip = encoded_and_decoded(folder, how)
    if clip is None:
        return
    path, frames, duration_s = clip
    info = probe(path)
    interval_s = float(1 / Fraction(how["rate"]))
    assert info.frame_count == frames
    assert info.duration_s == pytest.approx(duration_s, abs=max(0.002, 0.02 * interval_s))
    # an end that is cut off between B-frames has a gap
    if frames > 2 and not how["variable"] and not (how["kept_frames"] and how["b_frames"]):
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


@pytest.mark.parametrize("suffix", [".ts", ".m2ts", ".ogv"])
@pytest.mark.parametrize("sound", [True, False])
def test_a_hole_on_a_clock_that_runs_on_stays_a_hole(tmp_path: Path, sound: bool, suffix: str) -> None:
    audio = ("-f", "lavfi", "-t", "20", "-i", "sine") if sound else ()
    path = clips.ffmpeg(
        tmp_path / f"hole{suffix}", "-f", "lavfi", "-t", "20", "-i", "testsrc2=size=96x64:rate=25", *audio,
        "-vf", "select='lt(n,50)+gte(n,450)'", "-fps_mode", "vfr", *(() if suffix == ".ogv" else _X264),
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


@pytest.mark.parametrize("suffix", [".mpg", ".mkv", ".avi", ".mp4"])
def test_pictures_of_an_open_group_whose_references_were_cut_off_are_not_counted(tmp_path: Path, suffix: str) -> None:
    whole = clips.ffmpeg(
        tmp_path / f"whole{suffix}", "-f", "lavfi", "-t", "3", "-i", "testsrc2=size=64x48:rate=25",
        "-c:v", "mpeg2video", "-bf", "2", "-g", "15",
    )  # fmt: skip
    path = clips.ffmpeg(tmp_path / f"cut{suffix}", "-ss", "1.3", "-i", str(whole), "-c", "copy", "-copyts")
    frames, _ = decoded_timing(path)
    info = probe(path)
    assert info.frame_count == frames
    assert info.duration_s == pytest.approx(frames / 25, abs=0.002)
    assert not info.variable_frame_rate


def test_pictures_that_are_only_referred_to_are_not_counted(tmp_path: Path) -> None:
    """libvpx puts its alternate references into packets of their own where two passes tell it to make some."""
    source = ("-f", "lavfi", "-t", "2", "-i", "testsrc2=size=64x48:rate=25")
    vp8 = ("-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "16", "-passlogfile", str(tmp_path / "log"))
    for number in "12":
        path = clips.ffmpeg(tmp_path / "a.webm", *source, *vp8, "-pass", number)
    assert sum(1 for packet in packet_list.packets_of(path)) > 50
    assert timing_of(probe(path)) == (50, 2.0, "25/1", False)


def packets_as(monkeypatch: pytest.MonkeyPatch, rows: Iterable[str]) -> None:
    """ffprobe's listing of packets: stream, pts, dts, duration, position, flags."""

    def listed(command: Sequence[str], **_: object) -> Iterator[bytes]:
        return iter([f"{row}\n".encode() for row in rows] if "packet=" in " ".join(command) else [])

    for module in (packet_list, packets):
        monkeypatch.setattr(module, "lines", listed)


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


def rows_at(times_s: Iterable[float]) -> list[str]:
    return [f"0,{time_s:.6f},{time_s:.6f},0.040000,N/A,K_" for time_s in times_s]


@pytest.mark.parametrize("wrong_s", [1500.0, -300.0])
def test_a_packet_with_a_damaged_time_moves_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong_s: float
) -> None:
    packets_as(monkeypatch, rows_at([400 + n * 0.04 + (wrong_s if n == 20 else 0) for n in range(50)]))
    monkeypatch.setattr(packets.transport_stream, "continues", lambda *_: True)
    (tmp_path / "a.ts").touch()
    found = packets.read_packets(tmp_path / "a.ts", 0, "mpegts")
    assert found is not None
    assert found.times_s[-1] - found.times_s[0] == pytest.approx(1.96)
    assert found.clock_jumps


def test_a_clock_of_32_bits_that_wraps_around_makes_a_video_no_longer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packets_as(monkeypatch, rows_at([2**31 / 1000 - 1 + n * 0.04 for n in range(25)] + [n * 0.04 for n in range(25)]))
    (tmp_path / "a.flv").touch()
    found = packets.read_packets(tmp_path / "a.flv", 0, "flv")
    assert found is not None
    assert found.times_s[-1] - found.times_s[0] == pytest.approx(1.96)


def test_a_stream_with_absurd_times_is_one_without_times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packets_as(monkeypatch, rows_at([1.1529215046068468e16] * 3 + [n * 0.04 for n in range(47)]))
    (tmp_path / "a.ogv").touch()
    found = packets.read_packets(tmp_path / "a.ogv", 0, "ogg")
    assert found is not None
    assert (found.count, len(found.times_s)) == (50, 0)


def test_a_picture_that_is_late_in_avi_is_shown_when_it_is_decoded(tmp_path: Path) -> None:
    """AVI has no times: empty packets fill the time before, and with B-frames the first picture waits for the next."""
    info = probe(
        clips.ffmpeg(
            tmp_path / "late.avi", "-itsoffset", "1.5", "-f", "lavfi", "-t", "2", "-i", "testsrc2=size=64x48:rate=25",
            "-c:v", "mpeg4", "-bf", "2",
        )
    )  # fmt: skip
    assert timing_of(info) == (50, 2.0, "25/1", False)


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
