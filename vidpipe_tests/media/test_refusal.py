"""A file that is no usable video is refused with a sentence that says what it is and what to do."""

from __future__ import annotations

import gzip
import re
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from vidpipe.errors import MediaError
from vidpipe.media import programs
from vidpipe.media.container_layout import ContainerLayout, matroska_layout
from vidpipe.media.probe import check_decodable, probe
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
    assert "download is incomplete" in said
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


@pytest.mark.parametrize(("name", "codec"), [("a.ogg", "libtheora"), ("a.mp4", "mjpeg"), ("b.mp4", "libx264")])
def test_music_whose_cover_is_not_marked_as_one(tmp_path: Path, name: str, codec: str) -> None:
    path = clips.ffmpeg(
        tmp_path / name, "-f", "lavfi", "-i", "sine=duration=2",
        "-f", "lavfi", "-i", "color=red:size=64x64:duration=0.04",
        "-c:v", codec, "-pix_fmt", "yuvj420p" if codec == "mjpeg" else "yuv420p",
    )  # fmt: skip
    assert "holds sound only" in (said := refusal(path))
    assert "and a cover picture" in said


def test_one_picture_for_the_whole_of_the_sound_is_a_video(tmp_path: Path) -> None:
    path = clips.ffmpeg(
        tmp_path / "talk.mp4", "-f", "lavfi", "-i", "sine=duration=2", "-f", "lavfi", "-i", 
        "color=red:size=64x64:rate=1/2:duration=2", "-pix_fmt", "yuv420p",
    )  # fmt: skip
    check_decodable(path)
    assert probe(path).frame_count == 1


@pytest.mark.parametrize(("name", "kind"), [("p.png", "PNG"), ("p.jpg", "JPEG"), ("p.webp", "WebP"), ("p.gif", "GIF")])
def test_still_pictures(tmp_path: Path, name: str, kind: str) -> None:
    path = clips.ffmpeg(tmp_path / name, "-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1")
    path = path.rename(tmp_path / "clip.mp4")
    assert "picture" in (said := refusal(path))
    assert kind in said


def test_encrypted_video_that_would_decode_to_noise(tmp_path: Path) -> None:
    path = clips.ffmpeg(
        tmp_path / "drm.mp4", "-i", str(clips.moving(tmp_path / "v.mp4", seconds=1)), "-c", "copy",
        "-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "00112233445566778899aabbccddeeff",
        "-encryption_kid", "112233445566778899aabbccddeeff00",
    )  # fmt: skip
    assert "is encrypted" in refusal(path)


def test_sound_alone_that_is_encrypted_costs_the_sound(tmp_path: Path) -> None:
    whole = clips.moving(tmp_path / "v.mp4", seconds=0.4, audio="sine")
    path = tmp_path / "enca.mp4"
    path.write_bytes(whole.read_bytes().replace(b"mp4a", b"enca"))
    check_decodable(path)
    info = probe(path)
    assert (info.audio, info.notes) == ((), ("Its sound is encrypted and was left out.",))


def scrambled_transport_stream(data: bytearray) -> None:
    for start in range(0, len(data), 188):
        if 0x100 <= int.from_bytes(data[start + 1 : start + 3], "big") & 0x1FFF < 0x1000 and data[start + 3] & 0x10:
            data[start + 3] |= 0x80


def sample_encrypted_transport_stream(data: bytearray) -> None:
    while (listed := data.find(b"\x1b\xe1\x00")) >= 0:  # H.264 in the programme's map
        data[listed] = 0xDB
        start = data.rindex(b"\x02\xb0", 0, listed)
        end = start + data[start + 2] - 1
        data[end : end + 4] = crc32_mpeg(data[start:end]).to_bytes(4, "big")


def crc32_mpeg(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


def scrambled_program_stream(data: bytearray) -> None:
    for packet in re.finditer(rb"\x00\x00\x01\xe0..[\x80-\xbf]", bytes(data), re.S):
        data[packet.start() + 6] |= 0x10


def protected_asf(data: bytearray) -> None:
    added = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + struct.pack("<Q", 24)
    length, objects = struct.unpack_from("<QI", data, 16)
    struct.pack_into("<QI", data, 16, length + len(added), objects + 1)
    data[30:30] = added


@pytest.mark.parametrize(
    ("name", "codec", "encrypt"),
    [
        ("a.ts", "libx264", scrambled_transport_stream),
        ("b.ts", "libx264", sample_encrypted_transport_stream),
        ("a.vob", "mpeg2video", scrambled_program_stream),
        ("a.wmv", "wmv2", protected_asf),
    ],
)
def test_other_formats_say_that_they_are_encrypted(
    tmp_path: Path, name: str, codec: str, encrypt: Callable[[bytearray], None]
) -> None:
    path = clips.moving(tmp_path / name, codec=codec, seconds=0.4, size="64x64")
    check_decodable(path)
    data = bytearray(path.read_bytes())
    encrypt(data)
    path.write_bytes(data)
    assert "is encrypted" in refusal(path)


def element(identifier: str, *content: bytes) -> bytes:
    """An element of Matroska."""
    body = b"".join(content)
    return bytes.fromhex(identifier) + bytes([0x10, *len(body).to_bytes(3, "big")]) + body


@pytest.mark.parametrize(("kind", "encrypted"), [("5035", True), ("5034", False)])
def test_matroska_tracks_are_encrypted_not_merely_compressed(tmp_path: Path, kind: str, encrypted: bool) -> None:
    encoding = element("6d80", element("6240", element(kind)))
    tracks = element("1654ae6b", element("ae", element("83", b"\1"), encoding), element("ae", element("83", b"\2")))
    path = tmp_path / "a.webm"
    path.write_bytes(element("1a45dfa3") + element("18538067", tracks, element("1f43b675")))
    assert matroska_layout(path) == ContainerLayout(encrypted=encrypted, stated_bytes=path.stat().st_size)


@pytest.mark.parametrize(("name", "codec", "segment"), [("a.mp4", "libx264", b"moof"), ("a.webm", "libvpx", None)])
def test_pieces_of_a_segmented_stream_are_named(tmp_path: Path, name: str, codec: str, segment: bytes | None) -> None:
    options = ["-movflags", "frag_keyframe+empty_moov+default_base_moof"] if segment else []
    whole = clips.moving(tmp_path / name, codec=codec, seconds=0.4, size="64x64", options=options).read_bytes()
    cut = whole.index(segment) - 4 if segment else whole.index(b"\x1f\x43\xb6\x75")
    path = tmp_path / "piece"
    path.write_bytes(whole[:cut])
    assert "the header of a segmented (DASH or HLS) stream, without its media segments" in refusal(path)
    path.write_bytes(whole[cut:])
    assert "a media segment of a segmented (DASH or HLS) stream, without its header" in refusal(path)


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
    assert "no picture could be decoded" in refusal(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(tmp_path / "gone.mp4")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The programs that were started."""
    names: list[str] = []

    def spawn(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        names.append(Path(command[0]).name)
        return start(command, **options)

    start = programs.spawn
    monkeypatch.setattr(programs, "spawn", spawn)
    return names


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_an_ordinary_video_is_checked_by_a_single_program(tmp_path: Path, started: list[str], name: str) -> None:
    inputs = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=1", "-f", "lavfi", "-i", "sine=duration=1"]
    path = clips.ffmpeg(tmp_path / name, *inputs, "-c:v", "libx264")
    check_decodable(path)
    assert started == ["ffprobe"]


def test_a_video_that_begins_long_after_its_sound_is_looked_for(tmp_path: Path, started: list[str]) -> None:
    inputs = ["-f", "lavfi", "-i", "sine=duration=3", "-itsoffset", "2", "-f", "lavfi", "-i", "testsrc=s=64x48:d=1"]
    path = clips.ffmpeg(tmp_path / "late.mkv", *inputs, "-c:v", "libx264")
    check_decodable(path)
    assert len(started) == 3
