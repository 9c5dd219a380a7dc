"""Animated WebP, which ffmpeg does not decode, as an animated PNG, which it does: the same pictures for the same times.

Pillow decodes the untrusted file in a process of its own (`python -m vidpipe.media.animated_webp IN OUT`), with a time
limit, as ffmpeg does. Chunks as in the PNG specification, third edition (acTL, fcTL, fdAT).
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from vidpipe.errors import MediaError

#: Pixels of all pictures together: 14 minutes of 320x180 at 10 a second.
_MOST_PIXELS = 500_000_000
_MOST_PICTURE_PIXELS = 7680 * 4320
#: Browsers show a picture for 0.1 s that claims 10 ms or less.
_SHORTEST_MS, _USUAL_MS = 11, 100
#: Converted files that are kept while this process lives: a video is read several times in succession.
_MOST_KEPT = 16


def as_png(path: Path, convert: Callable[[Sequence[str]], str | None], name: str) -> Path:
    """Converts an animated WebP to an animated PNG, once per process and version of the file.

    Args:
        path: The WebP.
        convert: Runs a command and returns what went wrong, or None.
        name: How the file is called in errors.

    Raises:
        MediaError: The file cannot be decoded.
    """
    stat = os.stat(path)
    made = _folder() / f"{stat.st_dev:x}-{stat.st_ino:x}-{stat.st_size:x}-{stat.st_mtime_ns:x}.png"
    if made.exists():
        return made
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        unfinished = Path(folder, "unfinished.png")
        # -P: what lies in the working directory is not imported
        fault = convert([sys.executable, "-P", "-m", __name__, os.fspath(path), os.fspath(unfinished)])
        if fault is not None:
            raise MediaError(
                f"{name} is an animated WebP that cannot be decoded ({fault}).", "Convert it to MP4 or fetch it again."
            )
        unfinished.replace(made)
    for old in sorted(_folder().glob("*.png"), key=os.path.getmtime)[:-_MOST_KEPT]:
        old.unlink(missing_ok=True)
    return made


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="vidpipe-webp-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _convert(source: Path, target: Path) -> None:
    from PIL import Image, ImageSequence

    with Image.open(source, formats=["WEBP"]) as webp, target.open("wb") as file:
        count, (width, height) = getattr(webp, "n_frames", 1), webp.size
        if width * height > min(_MOST_PICTURE_PIXELS, _MOST_PIXELS // count):
            raise ValueError(f"{count} pictures of {width}x{height} are too many")
        file.write(b"\x89PNG\r\n\x1a\n")
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        _chunk(file, b"acTL", struct.pack(">II", count, 0))
        numbers = itertools.count()
        black = Image.new("RGBA", webp.size, "black")
        for index, picture in enumerate(ImageSequence.Iterator(webp)):
            rgb = Image.alpha_composite(black, picture.convert("RGBA")).convert("RGB").tobytes()
            shown_ms = int(picture.info.get("duration", 0))
            shown_ms = shown_ms if shown_ms >= _SHORTEST_MS else _USUAL_MS
            delay = (shown_ms, 1000) if shown_ms < 1 << 16 else (shown_ms // 1000, 1)
            _chunk(file, b"fcTL", struct.pack(">5I2H2B", next(numbers), width, height, 0, 0, *delay, 0, 0))
            # each row begins with the number of its filter: none
            rows = (b"\0" + rgb[start : start + 3 * width] for start in range(0, len(rgb), 3 * width))
            data = zlib.compress(b"".join(rows), 1)
            number = struct.pack(">I", next(numbers)) if index else b""
            _chunk(file, b"fdAT" if index else b"IDAT", number + data)
        _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


if __name__ == "__main__":
    try:
        _convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:
        sys.exit(str(error) or type(error).__name__)
