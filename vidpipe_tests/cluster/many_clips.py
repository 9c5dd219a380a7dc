"""Many small clips, made fast."""

from __future__ import annotations

import random
from pathlib import Path

from vidpipe_tests import clips

_COLORS = ("red", "green", "blue", "yellow", "white", "purple", "cyan", "orange", "navy", "gray")
_SOURCES = ("testsrc2", "mandelbrot", "smptebars", "rgbtestsrc")


#: Each picture occurs in several files: encoding takes longer than all else.
_COPIES = 4


def many_clips(folder: Path, number: int) -> list[Path]:
    """`number` different clips of 1 to 3 s in 96x64: colours with cuts, and movement, some with sound."""
    chances = random.Random(77)
    made: list[Path] = []
    while len(made) < number:
        original = _clip(folder / "original.mp4", len(made) // _COPIES, chances)
        for _ in range(min(_COPIES, number - len(made))):
            made.append(folder / f"clip-{len(made):03d}.mp4")
            made[-1].write_bytes(clips.told_apart(original.read_bytes(), len(made)))
        original.unlink()
    return made


def _clip(path: Path, number: int, chances: random.Random) -> Path:
    audio = "sine" if number % 5 == 0 else None
    if number % 4 == 3:
        seconds = 1 + number / 50
        return clips.moving(
            path, source=_SOURCES[number // 4 % 4], seconds=seconds, fps="10", size="96x64", audio=audio
        )
    colors = chances.sample(_COLORS, chances.randint(1, 3))
    each = chances.choice((0.7, 0.8, 0.9, 1.0))
    return clips.color_cuts(path, colors, seconds_each=each, fps=10, size="96x64", audio=audio)
