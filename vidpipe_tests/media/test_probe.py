"""What a file says of itself is read exactly, and completed from its packets where its headers are silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe.media.probe import check_decodable, probe
from vidpipe_tests import clips

_SILENT = {
    "raw.h264": ("-f", "h264"),
    "live.mkv": ("-f", "matroska", "-live", "1"),
    "stream.ts": ("-f", "mpegts"),
    "fragments.mp4": ("-movflags", "frag_keyframe+empty_moov"),
    "stream.flv": ("-f", "flv", "-flvflags", "no_duration_filesize"),
}


def test_an_ordinary_file(tmp_path: Path) -> None:
    path = clips.moving(
        tmp_path / "a.mp4",
        seconds=2,
        fps="30000/1001",
        size="1280x720",
        audio="sine",
        options=[
            "-movflags",
            "+faststart",
            "-metadata",
            "title=A walk",
            "-metadata",
            "creation_time=2021-03-04T05:06:07Z",
        ],
    )
    info = probe(path)
    assert (info.container, info.video_codec, info.pixel_format, info.bit_depth) == ("mov", "h264", "yuv420p", 8)
    assert (info.width, info.height, info.resolution, info.orientation) == (1280, 720, "HD", "landscape")
    assert (info.frame_rate_exact, info.frame_rate, info.variable_frame_rate) == ("30000/1001", 29.97, False)
    assert (info.frame_count, info.frame_count_source) == (60, "packets")
    assert info.duration_s == pytest.approx(60 * 1001 / 30000, abs=1e-3)
    assert (info.duration_source, info.size_bytes) == ("packets", path.stat().st_size)
    assert info.bit_rate == pytest.approx(path.stat().st_size * 8 / 2.0, rel=0.05)
    assert [(a.codec, a.channels, a.sample_rate_hz) for a in info.audio] == [("aac", 1, 44100)]
    assert (info.title, info.created, info.faststart) == ("A walk", "2021-03-04T05:06:07+00:00", True)
    assert info.hdr is None


@pytest.mark.parametrize("name", _SILENT)
def test_silent_headers_are_completed_by_counting(tmp_path: Path, name: str) -> None:
    source = clips.moving(tmp_path / "source.mp4", seconds=2)
    path = clips.ffmpeg(tmp_path / name, "-i", str(source), "-c", "copy", *_SILENT[name])
    info = probe(path)
    assert (info.frame_count, info.frame_count_source) == (50, "packets")
    assert info.duration_s == pytest.approx(2.0, abs=0.05)
    assert (info.frame_rate, info.variable_frame_rate) == (25.0, False)
    assert info.bit_rate


def test_a_variable_rate_is_noticed_and_its_average_told(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        info = probe(clips.variable_rate(tmp_path / f"vfr{suffix}"))
        assert info.variable_frame_rate, suffix
        # the edit list that ffmpeg writes hides the last picture of the mp4
        assert info.frame_count == (49 if suffix == ".mp4" else 50)
        assert info.frame_rate == pytest.approx(50 / 3, rel=0.05)


def test_matroskas_rounded_times_are_no_variable_rate(tmp_path: Path) -> None:
    info = probe(clips.moving(tmp_path / "a.mkv", seconds=2, fps="30000/1001"))
    assert (info.variable_frame_rate, info.frame_rate_exact) == (False, "30000/1001")


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_turns_the_displayed_size(tmp_path: Path, degrees: int) -> None:
    info = probe(clips.rotated(tmp_path / "phone.mp4", degrees))
    assert (info.rotation, info.coded_width, info.coded_height) == (degrees, 320, 180)
    assert (info.width, info.height) == ((180, 320) if degrees in (90, 270) else (320, 180))


def test_a_mirrored_picture_is_not_rotated(tmp_path: Path) -> None:
    path = clips.rotated(tmp_path / "selfie.mp4", matrix=(-1, 0, 0, 1))
    info = probe(path)
    assert (info.rotation, info.mirrored, info.width, info.height) == (0, True, 320, 180)
    assert not probe(clips.rotated(path, 180)).mirrored


@pytest.mark.parametrize("aspect", ["1/1000", "100/1"])
def test_an_absurd_pixel_aspect_is_ignored_and_noted(tmp_path: Path, aspect: str) -> None:
    path = clips.moving(tmp_path / "mad.mkv", seconds=0.2, options=["-vf", f"setsar={aspect}"])
    info = probe(path)
    assert (info.pixel_aspect, info.width, info.height) == ("1:1", 320, 180)
    assert [note for note in info.notes if aspect.replace("/", ":") in note]


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    info = probe(clips.moving(tmp_path / "dv.mp4", size="720x576", options=["-aspect", "16:9"]))
    assert (info.pixel_aspect, info.width, info.height, info.coded_width) == ("64:45", 1024, 576, 720)


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    video = clips.moving(tmp_path / "v.mp4", size="320x180", seconds=1)
    cover = clips.ffmpeg(tmp_path / "c.png", "-f", "lavfi", "-i", "color=red:size=1200x1200", "-frames:v", "1")
    both = clips.ffmpeg(
        tmp_path / "both.mp4", "-i", str(cover), "-i", str(video), "-map", "0", "-map", "1", "-c", "copy",
        "-disposition:v:0", "attached_pic",
    )  # fmt: skip
    info = probe(both)
    assert (info.video_codec, info.width, info.video_streams) == ("h264", 320, 1)


def test_ten_bits_and_hdr10(tmp_path: Path) -> None:
    x265 = (
        "log-level=none:hdr10=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:max-cll=1000,400:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    )
    path = clips.moving(
        tmp_path / "hdr.mp4", codec="libx265", pixel_format="yuv420p10le", seconds=0.4, options=["-x265-params", x265]
    )
    info = probe(path)
    assert (info.bit_depth, info.hdr, info.video_profile) == (10, "HDR10", "Main 10")


def test_several_audio_streams_with_their_languages(tmp_path: Path) -> None:
    path = clips.ffmpeg(
        tmp_path / "two.mkv", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=1",
        "-f", "lavfi", "-i", "sine=duration=1:sample_rate=48000",
        "-f", "lavfi", "-i", "anullsrc=channel_layout=5.1:duration=1",
        "-map", "0", "-map", "1", "-map", "2", "-c:a:0", "libopus", "-c:a:1", "ac3", "-metadata:s:a:0", "language=deu",
        "-metadata:s:a:1", "title=Director", "-t", "1",
    )  # fmt: skip
    first, second = probe(path).audio
    assert (first.codec, first.channels, first.sample_rate_hz, first.language) == ("opus", 1, 48000, "deu")
    assert (second.codec, second.channels, second.language, second.title) == ("ac3", 6, None, "Director")


def test_chapters(tmp_path: Path) -> None:
    notes = tmp_path / "chapters.txt"
    notes.write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=800\ntitle=Start\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=800\nEND=2000\ntitle=End\n"
    )
    source = clips.moving(tmp_path / "v.mp4", seconds=2)
    path = clips.ffmpeg(tmp_path / "c.mkv", "-i", str(source), "-i", str(notes), "-map_chapters", "1", "-c", "copy")
    assert [(c.start_s, c.end_s, c.title) for c in probe(path).chapters] == [(0, 0.8, "Start"), (0.8, 2.0, "End")]


def test_a_file_with_damage_in_the_middle_is_let_in(tmp_path: Path) -> None:
    path = clips.damaged(tmp_path / "d.mp4", clips.moving(tmp_path / "v.mp4", seconds=2))
    check_decodable(path)
    assert probe(path).frame_count == 50


def test_numbers_in_a_hostile_file_do_not_reach_the_result(tmp_path: Path) -> None:
    path = clips.ffmpeg(
        tmp_path / "t.mkv", "-i", str(clips.moving(tmp_path / "v.mp4", seconds=1)), "-c", "copy",
        "-metadata:s:v:0", "NUMBER_OF_FRAMES=nan", "-metadata:s:v:0", "BPS=-5", "-metadata", "title=a\x1b[31mb",
    )  # fmt: skip
    info = probe(path)
    assert (info.frame_count, info.video_bit_rate, info.title) == (25, None, "a [31mb")
