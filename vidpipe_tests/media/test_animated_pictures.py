"""Moving pictures in picture formats are videos, a single picture is none: alone, in a folder, downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vidpipe.errors import MediaError
from vidpipe.media.probe import check_decodable, probe
from vidpipe.media.sniff import HEAD_BYTES, sniff_bytes
from vidpipe.sources.containers import skip_reason

_FORMATS = {"GIF": {}, "PNG": {}, "WEBP": {"lossless": True}, "AVIF": {}, "JPEG": {}}
_SHOWN_MS = [100, 300, 1000]


def picture(path: Path, format_: str, *, moving: bool) -> Path:
    images = [Image.effect_noise((96, 64), 90).convert("RGB") for _ in _SHOWN_MS]
    several = moving and format_ != "JPEG"
    options = {"save_all": True, "append_images": images[1:], "duration": _SHOWN_MS} if several else {}
    images[0].save(path, format_, **(_FORMATS[format_] | options))
    if moving and not several:  # raw Motion JPEG
        path.write_bytes(path.read_bytes() * len(_SHOWN_MS))
    return path


@pytest.mark.parametrize("format_", _FORMATS)
def test_several_pictures_are_a_video_whatever_the_name(tmp_path: Path, format_: str) -> None:
    path = picture(tmp_path / "a.png", format_, moving=True)
    check_decodable(path)
    info = probe(path)
    assert (info.frame_count, info.size_bytes) == (3, path.stat().st_size)
    if format_ in ("GIF", "PNG", "WEBP"):  # each picture is shown for its own time
        assert info.duration_s == pytest.approx(1.4)
        assert info.container in (format_.lower(), "apng")
    assert skip_reason(path) is None
    assert sniff_bytes(path.read_bytes()[:HEAD_BYTES]) is None


@pytest.mark.parametrize("format_", _FORMATS)
def test_one_picture_is_none(tmp_path: Path, format_: str) -> None:
    path = picture(tmp_path / "a.dat", format_, moving=False)
    assert format_.lower() in str(skip_reason(path)).lower()
    with pytest.raises(MediaError, match=str(skip_reason(path))):
        check_decodable(path)


def test_a_damaged_animated_webp_is_named(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.webp", "WEBP", moving=True)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(MediaError, match="is an animated WebP that cannot be decoded"):
        check_decodable(path)


def test_the_second_picture_of_a_photo_is_no_video(tmp_path: Path) -> None:
    """Phones put a preview or a depth map behind the photo."""
    path = tmp_path / "a.jpg"
    images = [Image.effect_noise((96, 64), 90).convert("RGB") for _ in range(2)]
    images[0].save(path, "MPO", save_all=True, append_images=images[1:])
    assert skip_reason(path) == "a JPEG picture"


@pytest.mark.parametrize("bait", [b"GIF89a" + bytes(7) + b"\x21\xf9\x01" * 9, b"\xff\xd8\xff\xe0\xff\xff",
                                  b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffacTL", b"RIFF\0\0\0\0WEBPVP8X"])  # fmt: skip
def test_what_only_begins_like_a_picture_is_read_without_harm(tmp_path: Path, bait: bytes) -> None:
    path = tmp_path / "a"
    for length in range(3, len(bait) + 1):
        path.write_bytes(bait[:length])
        skip_reason(path)
        sniff_bytes(bait[:length])
