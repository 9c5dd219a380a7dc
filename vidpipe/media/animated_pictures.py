"""Picture formats that may be animated: GIF, APNG, WebP, and JPEGs one after another (raw Motion JPEG).

ffmpeg does not decode animated WebP, so it is converted to an animated PNG with the same pictures and durations. Pillow
decodes the untrusted file in a process of its own (`python -m vidpipe.media.animated_pictures IN OUT`), with a time
limit, as ffmpeg does.

Specifications: GIF89a; PNG, third edition (acTL, fcTL, fdAT); RFC 9649 (WebP).
"""

import atexit
import functools
import itertools
import os
import re
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from vidpipe.errors import MediaError

#: A photo counts as a single picture if no other one follows within this distance: photos are large, and numerous.
_PHOTO_PROBE_BYTES = 1 << 20
#: The end of an image and the start of the next; recorders pad in between.
_NEXT_JPEG = re.compile(rb"\xff\xd9[\x00\xff]{0,64}?\xff\xd8\xff")
#: Total pixels of all pictures of a WebP: 14 minutes of 320x180 at 10 frames per second.
_MAX_PIXELS = 500_000_000
_MAX_PICTURE_PIXELS = 7680 * 4320
#: Browsers show a picture with a duration of 10 ms or less for 100 ms.
_MIN_DURATION_MS, _DEFAULT_DURATION_MS = 11, 100
#: Number of converted files kept while this process lives: a video is read several times in succession.
_MAX_CONVERTED = 16


def has_several_pictures(start: bytes) -> bool | None:
    """Return whether a picture file is animated.

    Args:
        start: The beginning of the file.

    Returns:
        None if more of the file has to be read to decide; False for other formats.
    """
    for magic, inspect in _INSPECTORS:
        if start.startswith(magic):
            return inspect(start)
    return False


def is_animated_webp(start: bytes) -> bool:
    """Return whether these are the first bytes of a WebP with the animation flag."""
    return start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8X" and len(start) > 20 and bool(start[20] & 0x02)


def _gif(data: bytes) -> bool | None:
    position, images = 13 + _color_table_bytes(data, 10), 0
    while position < len(data):
        introducer = data[position]
        if introducer == 0x2C:
            images += 1
            if images == 2:
                return True
            position += 11 + _color_table_bytes(data, position + 9)  # image descriptor, color table, LZW code size
        elif introducer == 0x21:
            position += 2
        else:  # 0x3B: the end; anything else is damage
            return False
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1
    return None


def _color_table_bytes(data: bytes, flags_at: int) -> int:
    flags = data[flags_at] if flags_at < len(data) else 0
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _png(data: bytes) -> bool | None:
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"acTL":
            return bool(struct.unpack_from(">I", data, position + 8)[0] > 1)
        if kind == b"IDAT":
            return False
        position += 12 + length
    return None


def _webp(data: bytes) -> bool | None:
    if data[8:12] != b"WEBP":
        return False
    if len(data) > 20 and not is_animated_webp(data):
        return False
    position, frames = 12, 0
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        frames += kind == b"ANMF"
        if frames == 2:
            return True
        position += 8 + length + length % 2
    return None


def _jpeg(data: bytes) -> bool | None:
    position, photo = 2, False
    while position + 4 <= len(data):
        mark, marker, length = struct.unpack_from(">BBH", data, position)
        if mark != 0xFF:
            return False
        body = position + 4
        if marker == 0xE2 and data.startswith(b"MPF\0", body):
            return False  # a photo with its preview, depth map or gain map in a second JPEG (CIPA DC-007)
        photo = photo or (marker == 0xE1 and data.startswith(b"Exif\0", body))
        position += 2 + length
        if marker == 0xDA:
            if _NEXT_JPEG.search(data, position):
                return True
            return False if photo and len(data) >= _PHOTO_PROBE_BYTES else None
    return None


_INSPECTORS: tuple[tuple[bytes, Callable[[bytes], bool | None]], ...] = (
    (b"GIF8", _gif),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"RIFF", _webp),
    (b"\xff\xd8\xff", _jpeg),
)


def webp_to_png(path: Path, convert: Callable[[Sequence[str]], str | None], name: str) -> Path:
    """Convert an animated WebP to an animated PNG, once per process and version of the file.

    Args:
        path: The WebP.
        convert: Runs a command and returns an error message, or None.
        name: The file's name in errors.

    Returns:
        Path of the PNG, in a temporary folder of this process.

    Raises:
        MediaError: The file cannot be decoded.
    """
    stat = os.stat(path)
    png = _temporary_folder() / f"{stat.st_dev:x}-{stat.st_ino:x}-{stat.st_size:x}-{stat.st_mtime_ns:x}.png"
    if png.exists():
        return png
    with tempfile.TemporaryDirectory(dir=_temporary_folder()) as folder:
        unfinished = Path(folder, "unfinished.png")
        # -P: import nothing from the working directory
        error = convert([sys.executable, "-P", "-m", __name__, os.fspath(path), os.fspath(unfinished)])
        if error is not None:
            raise MediaError(
                f"{name} is an animated WebP that cannot be decoded ({error}).",
                "Convert it to MP4, or fetch it again.",
            )
        unfinished.replace(png)
    for old in sorted(_temporary_folder().glob("*.png"), key=os.path.getmtime)[:-_MAX_CONVERTED]:
        old.unlink(missing_ok=True)
    return png


@functools.cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="vidpipe-webp-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _convert(source: Path, target: Path) -> None:
    from PIL import Image, ImageSequence  # needed only in the decoding process

    with Image.open(source, formats=["WEBP"]) as webp, target.open("wb") as file:
        count, (width, height) = getattr(webp, "n_frames", 1), webp.size
        if width * height > min(_MAX_PICTURE_PIXELS, _MAX_PIXELS // count):
            raise ValueError(f"{count} pictures of {width}x{height} are too many")
        file.write(b"\x89PNG\r\n\x1a\n")
        _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        _write_chunk(file, b"acTL", struct.pack(">II", count, 0))
        sequence = itertools.count()
        black = Image.new("RGBA", webp.size, "black")
        for index, picture in enumerate(ImageSequence.Iterator(webp)):
            rgb = Image.alpha_composite(black, picture.convert("RGBA")).convert("RGB").tobytes()
            duration_ms = int(picture.info.get("duration", 0))
            duration_ms = duration_ms if duration_ms >= _MIN_DURATION_MS else _DEFAULT_DURATION_MS
            delay = (duration_ms, 1000) if duration_ms < 1 << 16 else (duration_ms // 1000, 1)
            _write_chunk(file, b"fcTL", struct.pack(">5I2H2B", next(sequence), width, height, 0, 0, *delay, 0, 0))
            # each row begins with its filter type: none
            rows = (b"\0" + rgb[start : start + 3 * width] for start in range(0, len(rgb), 3 * width))
            data = zlib.compress(b"".join(rows), 1)
            number = struct.pack(">I", next(sequence)) if index else b""
            _write_chunk(file, b"fdAT" if index else b"IDAT", number + data)
        _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


if __name__ == "__main__":
    try:
        _convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:
        sys.exit(str(error) or type(error).__name__)
