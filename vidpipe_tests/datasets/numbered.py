"""Videos whose frames show their numbers as blocks of black and white, which survive scaling and encoding."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIZE = (160, 96)
_BITS, _COLUMNS = 16, 4


def _picture(number: int) -> NDArray[np.uint8]:
    bits = np.array([number >> bit & 1 for bit in range(_BITS)], np.uint8).reshape(_COLUMNS, _COLUMNS)
    return np.kron(bits * 255, np.ones((SIZE[1] // _COLUMNS, SIZE[0] // _COLUMNS), np.uint8))


def numbered(
    path: Path,
    frames: int,
    *options: str,
    rate: str = "25",
    times: str = "",
    sound: bool = False,
    before: Sequence[str] = (),
) -> Path:
    """A video whose frame n shows n.

    Args:
        path: Where; the suffix decides the container.
        frames: Number of frames.
        *options: Of the output.
        rate: Frames per second.
        times: ffmpeg's expression of the time of frame N in seconds; by default at a constant rate.
        sound: A beep of 50 ms at each whole second.
        before: Further filters.
    """
    filters = [*before, *([f"settb=1/90000,setpts='round(({times})/TB)'"] if times else [])]
    beep = f"aevalsrc='0.8*sin(880*2*PI*t)*lt(mod(t,1),0.05)':s=48000:d={eval_duration(frames, rate):.3f}"
    command = [
        "ffmpeg", "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", rate,
        "-i", "-", *(("-f", "lavfi", "-i", beep, "-map", "0:v", "-map", "1:a") if sound else ()),
        *(("-vf", ",".join(filters), "-vsync", "passthrough", "-enc_time_base", "1/90000") if filters else ()),
        *(options or ("-c:v", "libx264", "-preset", "ultrafast")), str(path),
    ]  # fmt: skip
    if "-pix_fmt" not in options:
        command[-1:-1] = ["-pix_fmt", "yuv420p"]
    subprocess.run(command, input=b"".join(_picture(n).tobytes() for n in range(frames)), check=True)
    return path


def eval_duration(frames: int, rate: str) -> float:
    """The duration of frames at a constant rate, in seconds."""
    above, _, below = rate.partition("/")
    return frames * int(below or 1) / int(above)


def shown_numbers(path: Path, transpose: bool = False) -> list[int]:
    """The number that each frame of a video shows; transpose: it was rotated clockwise."""
    turned = "transpose=cclock," if transpose else ""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v:0", "-vsync", "passthrough", "-vf",
               f"{turned}scale={SIZE[0]}:{SIZE[1]}:flags=area,format=gray", "-f", "rawvideo", "-"]  # fmt: skip
    data = subprocess.run(command, capture_output=True, check=True).stdout
    blocks = np.frombuffer(data, np.uint8).reshape(
        -1, _COLUMNS, SIZE[1] // _COLUMNS, _COLUMNS, SIZE[0] // _COLUMNS
    )[:, :, 6:-6, :, 10:-10].mean(axis=(2, 4))  # fmt: skip
    return [int(sum(1 << bit for bit, one in enumerate(frame.ravel()) if one > 127)) for frame in blocks]
