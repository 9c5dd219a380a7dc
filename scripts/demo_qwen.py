"""`make demo-qwen`: the tiny Qwen2-VL of the tests describes simple clips, in the home demo-qwen.

It has a million parameters and was trained on coloured squares on black and plain colours. It shows how descriptions by
a model work, with real weights and without a download; it is useless for real videos.
"""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

from demo import ROOT, vidpipe
from make_samples import ffmpeg

HOME = ROOT / "demo-qwen"
CHECKPOINT = ROOT / "vidpipe_tests" / "models" / "qwen" / "tiny"
SETTINGS = f"""\
[QwenVL]
Backend = qwen
ModelDir = {CHECKPOINT}
"""
RED, BLUE, YELLOW = "0xE61414", "0x141EE6", "0xF0EB14"


def picture(color: str) -> str:
    return f"color={color}:size=320x240:rate=24:duration=3"


def square(color: str) -> str:
    return f"{picture('black')},drawbox=x=110:y=70:w=100:h=100:color={color}:t=fill"


#: name -> scenes
CLIPS = {
    "red-square.mp4": (square(RED),),
    "blue.mp4": (picture(BLUE),),
    "yellow-square-then-yellow.mp4": (square(YELLOW), picture(YELLOW)),
}


def make_clips(directory: Path) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    for name, scenes in CLIPS.items():
        if (directory / name).exists():
            continue
        inputs = [word for scene in scenes for word in ("-f", "lavfi", "-i", scene)]
        ffmpeg(*inputs, "-filter_complex", f"concat=n={len(scenes)}", "-pix_fmt", "yuv420p", directory / name)
    return [directory / name for name in CLIPS]


def main() -> int:
    began = time.monotonic()
    if vidpipe("init", str(HOME), shown="init demo-qwen", home=HOME):
        return 1
    (HOME / "config.local.ini").write_text(SETTINGS, encoding="utf-8")
    print(f"\ndemo-qwen/config.local.ini:\n\n{SETTINGS}")
    clips = make_clips(HOME / "samples")
    codes = [vidpipe("add", *map(str, clips), shown=f"add {' '.join(CLIPS)}", home=HOME)]
    commands = (
        ("run",),
        ("show", "yellow-square-then-yellow"),
        ("show", "red-square", "--answers"),
        ("search", "red", "square"),
        ("ask", "--all", "Which colour is it?", "--choice", "red", "--choice", "blue", "--choice", "yellow"),
    )
    codes += [vidpipe(*command, home=HOME) for command in commands]
    print(f"\nDone in {time.monotonic() - began:.0f} s.")
    print(f"To explore demo-qwen: export VIDPIPE_HOME={shlex.quote(str(HOME))}")
    print("For real weights, see docs/model.md.")
    return 0 if not any(codes) else 1


if __name__ == "__main__":
    sys.exit(main())
