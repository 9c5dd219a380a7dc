"""A file that is no usable video is refused with a sentence that says what it is and what to do."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from vidpipe.errors import MediaError
from vidpipe.media.probe import check_decodable
from vidpipe_tests import clips

_CONTENTS = {
    "an empty file": b"",
    "an HTML page": b"<!-- saved -->\n<!DOCTYPE html><html><body>Please log in</body></html>",
    "a JSON text": b'{"error": "not found"}',
    "an XML text": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "a text file": "Zugriff verweigert – bitte anmelden\n".encode(),
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "a ZIP archive": b"PK\x03\x04" + bytes(200),
    "a gzip archive": gzip.compress(b"x" * 1000),
    "a subtitle file": b"1\n00:00:01,000 --> 00:00:02,000\nHello\n",
    "a JPEG picture": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(200),
    "a HEIC picture": b"\x00\x00\x00\x18ftypheic" + bytes(200),
    "an M3U8 playlist": b"#EXTM3U\n#EXTINF:9,\n/etc/passwd\n",
}


def refusal(path: Path) -> str:
    with pytest.raises(MediaError) as raised:
        check_decodable(path)
    assert raised.value.hint, "it says what to do"
    return str(raised.value)


@pytest.mark.parametrize("what", _CONTENTS)
def test_other_things_under_a_videos_name(tmp_path: Path, what: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(_CONTENTS[what])
    assert refusal(path).startswith(f"clip.mp4 is {what}")


def test_the_name_in_the_sentence_can_be_the_url(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    path.write_bytes(_CONTENTS["an HTML page"])
    with pytest.raises(MediaError, match=r"^https://host/v\.mp4 is an HTML page, not a video\."):
        check_decodable(path, name="https://host/v.mp4")


def test_an_mp4_that_was_cut_off_before_its_index(tmp_path: Path) -> None:
    assert "index (moov atom) is missing" in (said := refusal(clips.truncated(tmp_path / "cut.mp4")))
    assert "download was cut off" in said
    assert "Fetch it again" in said


def test_sound_only(tmp_path: Path) -> None:
    for name in ("a.m4a", "a.mp3", "a.wav"):
        path = clips.ffmpeg(tmp_path / name, "-f", "lavfi", "-i", "sine=duration=1")
        assert "holds sound only" in refusal(path)


def test_sound_with_a_cover_picture(tmp_path: Path) -> None:
    cover = clips.ffmpeg(tmp_path / "c.jpg", "-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", "1")
    sound = clips.sound_only(tmp_path / "a.m4a")
    path = clips.ffmpeg(
        tmp_path / "song.m4a", "-i", str(sound), "-i", str(cover), "-map", "0", "-map", "1", "-c", "copy",
        "-disposition:v:0", "attached_pic",
    )  # fmt: skip
    assert "sound only (aac) and a cover picture" in refusal(path)


@pytest.mark.parametrize(("name", "kind"), [("p.png", "PNG"), ("p.jpg", "JPEG"), ("p.webp", "WebP"), ("p.gif", "gif")])
def test_still_pictures(tmp_path: Path, name: str, kind: str) -> None:
    path = clips.ffmpeg(tmp_path / name, "-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1")
    path = path.rename(tmp_path / "clip.mp4")
    assert "picture" in (said := refusal(path))
    assert kind in said


def test_an_animated_gif_is_a_video(tmp_path: Path) -> None:
    path = clips.ffmpeg(tmp_path / "a.gif", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=10:duration=1")
    assert check_decodable(path).frame_count == 10


def test_encrypted_video_that_would_decode_to_noise(tmp_path: Path) -> None:
    path = clips.ffmpeg(
        tmp_path / "drm.mp4", "-i", str(clips.moving(tmp_path / "v.mp4", seconds=1)), "-c", "copy",
        "-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "00112233445566778899aabbccddeeff",
        "-encryption_kid", "112233445566778899aabbccddeeff00",
    )  # fmt: skip
    assert "is encrypted" in refusal(path)


def test_an_unknown_codec_is_named(tmp_path: Path) -> None:
    whole = clips.ffmpeg(tmp_path / "v.avi", "-f", "lavfi", "-i", "testsrc2=size=64x64:duration=1", "-c:v", "mpeg4")
    source = tmp_path / "new.avi"
    source.write_bytes(whole.read_bytes().replace(b"FMP4", b"XYZQ"))
    assert "unknown codec" in (said := refusal(source))
    assert "XYZQ" in said
    assert "Convert it" in said


def test_a_video_of_which_nothing_decodes(tmp_path: Path) -> None:
    whole = clips.moving(tmp_path / "v.mp4", seconds=1)
    data = bytearray(whole.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.rindex(b"moov") - 4
    data[start:end] = bytes(end - start)
    path = tmp_path / "noise.mp4"
    path.write_bytes(bytes(data))
    assert "not one picture could be decoded" in refusal(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(tmp_path / "gone.mp4")
