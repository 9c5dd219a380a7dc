"""Creates the small clips that `make demo` processes. Needs ffmpeg; takes a few seconds.

    python scripts/make_samples.py [FOLDER]

The clips are identical on every machine with the same ffmpeg: their sources are generators of ffmpeg with fixed seeds.
One also has slides drawn by Pillow, and speech if espeak-ng is installed.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[1] / "demo" / "samples"

_PLAIN = ("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")
_H264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "26", "-pix_fmt", "yuv420p")
_AAC = ("-c:a", "aac", "-b:a", "64k")

_SEASONS = """
0.3 3.0 What a wonderful morning! The garden is full of beautiful flowers.
3.4 6.4 I love the warm sun and the happy laughter of my friends at the lake.
6.8 9.4 The harvest was great, and the party was the best we ever had.
9.8 12.6 Even the winter is lovely here. Thank you all, it was a perfect year.
"""
_ZOOM = """
0.4 2.6 I am lost. This is a terrible, frightening place.
2.9 5.2 The ship is broken, and nobody answers our desperate calls.
5.5 7.6 It was an awful mistake to come here. I hate it.
"""
_SLIDE_S = 4.9
#: Heading and color of a slide, and what is said while it is shown.
_TOUR = (
    ("Harbour museum", "#20506b", "Welcome to the harbour museum. Our tour begins at the old lighthouse."),
    (
        "Steam engine, 1887",
        "#6b4420",
        "This steam engine was built in eighteen eighty seven. It runs every summer.",
    ),
    ("Opening hours 9-17", "#2f6b3a", "The museum is open from nine to five. Thank you for your visit."),
)


def make_samples(directory: Path = SAMPLES) -> list[Path]:
    """Create the missing clips in `directory` and return the paths of all clips, sorted by name.

    Raises:
        RuntimeError: ffmpeg failed; with its message.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, make in CLIPS.items():
            if not (directory / name).exists():
                unfinished = Path(folder) / name
                make(unfinished)
                # Copied whole before it gets its name: an interrupted run leaves no half clip that looks finished.
                beside = directory / f".{name}.part"
                beside.write_bytes(unfinished.read_bytes())
                beside.replace(directory / name)
    return [directory / name for name in sorted(CLIPS)]


def ffmpeg(*arguments: str | Path) -> None:
    command = ["ffmpeg", "-nostdin", "-y", "-v", "error", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ffmpeg could not make {Path(str(arguments[-1])).name}: {done.stderr.strip()}")


def _source(lavfi: str, seconds: float) -> tuple[str, ...]:
    return ("-f", "lavfi", "-t", f"{seconds:g}", "-i", lavfi)


def _subtitles(text: str, clip: Path) -> Path:
    """An .srt file beside `clip`; a line of `text`: start, end (seconds), words."""
    cues = []
    for number, line in enumerate(text.strip().splitlines(), start=1):
        start, end, words = line.split(maxsplit=2)
        cues.append(f"{number}\n{_clock(float(start))} --> {_clock(float(end))}\n{words}\n")
    file = clip.with_suffix(".srt")
    file.write_text("\n".join(cues), encoding="utf-8")
    return file


def _clock(seconds: float) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{thousandths:03d}"


def _joined(scenes: list[tuple[str, float]], size: str, rate: str) -> tuple[tuple[str, ...], str]:
    """Inputs and filter graph ([v]) of scenes one after another with hard cuts; a scene: lavfi source and filters."""
    inputs: list[str] = []
    chains = []
    for number, (scene, seconds) in enumerate(scenes):
        source, _, filters = scene.partition("|")
        inputs += _source(source, seconds)
        width, height = size.split("x")
        chains.append(
            f"[{number}:v]{filters + ',' if filters else ''}scale={width}:{height},setsar=1,fps={rate},"
            f"trim=duration={seconds:g},format=yuv420p[s{number}]"
        )
    labels = "".join(f"[s{number}]" for number in range(len(scenes)))
    return tuple(inputs), ";".join([*chains, f"{labels}concat=n={len(scenes)}:v=1:a=0[v]"])


def _four_seasons(path: Path) -> None:
    scenes = [
        ("gradients=size=640x360:rate=25:c0=0x2e8b57:c1=0xfff8dc:seed=1:speed=0.02", 2.2),
        ("life=size=160x90:rate=25:mold=10:ratio=0.3:seed=2:life_color=#ffd700:death_color=#8b4513", 2.0),
        ("gradients=size=640x360:rate=25:c0=0x1e90ff:c1=0xffffe0:seed=3:speed=0.03", 2.4),
        ("testsrc2=size=640x360:rate=25|hue=h=40:s=1.4", 2.0),
        ("cellauto=size=160x90:rate=25:rule=110:seed=4|negate,hue=h=200", 2.0),
        ("gradients=size=640x360:rate=25:c0=0xf0f8ff:c1=0xb0c4de:seed=5:speed=0.01", 2.2),
    ]
    inputs, graph = _joined(scenes, "640x360", "25")
    tune = "aevalsrc=0.3*sin(2*PI*(330+110*floor(mod(t*2\\,4)))*t):s=44100"
    ffmpeg(
        *inputs, *_source(f"{tune},volume=0:enable='between(t,8.6,12.8)'", 12.8), "-i", _subtitles(_SEASONS, path),
        "-filter_complex", graph, "-map", "[v]", "-map", f"{len(scenes)}:a", "-map", f"{len(scenes) + 1}:s",
        *_H264, "-crf", "30", *_AAC, "-c:s", "mov_text", *_PLAIN, "-metadata", "title=Four seasons",
        "-metadata:s:s:0", "language=eng", "-metadata:s:a:0", "language=eng", path,
    )  # fmt: skip


def _deep_zoom(path: Path) -> None:
    ffmpeg(
        *_source("mandelbrot=size=480x270:rate=24:start_scale=2.2:end_scale=0.02:end_pts=240", 8),
        *_source("sine=frequency=55:sample_rate=48000,tremolo=f=1.5:d=0.8", 8), "-i", _subtitles(_ZOOM, path),
        "-map", "0:v", "-map", "1:a", "-map", "2:s", "-c:v", "libx265", "-preset", "ultrafast", "-crf", "30",
        "-x265-params", "log-level=error", "-pix_fmt", "yuv420p", *_AAC, "-c:s", "srt", *_PLAIN,
        "-metadata:s:s:0", "language=eng", path,
    )  # fmt: skip


def _night_watch(path: Path) -> None:
    lamp = "drawbox=x=300:y=120:w=26:h=18:color=0x6a5530:t=fill,scroll=horizontal=-0.001"
    ffmpeg(
        *_source(f"color=c=0x06080e:size=640x360:rate=25,{lamp},noise=alls=6:allf=t:all_seed=6", 9),
        *_H264, *_PLAIN, path,
    )  # fmt: skip


def _fast_cuts(path: Path) -> None:
    colors = ("red", "gold", "navy", "lime", "white", "purple", "orange", "teal", "pink", "black", "cyan", "maroon")
    scenes = [
        (f"color=c={color}:size=480x270:rate=30|drawbox=x=60:y={20 + number * 15}:w=90:h=70:color=gray:t=fill,"
         f"scroll=horizontal=0.03,noise=alls=18:allf=t:all_seed={number}", 0.7)
        for number, color in enumerate(colors)
    ]  # fmt: skip
    inputs, graph = _joined(scenes, "480x270", "30")
    ffmpeg(
        *inputs, *_source("anoisesrc=color=brown:sample_rate=44100:amplitude=0.6:seed=8", 8.4),
        "-filter_complex", graph, "-map", "[v]", "-map", f"{len(scenes)}:a", *_H264, "-crf", "32", *_AAC, *_PLAIN, path,
    )  # fmt: skip


def _phone_portrait(path: Path) -> None:
    scenes = [
        ("testsrc=size=640x360:rate=30:duration=3", 3.0),
        ("gradients=size=640x360:rate=30:c0=0xff7f50:c1=0x483d8b:seed=9:speed=0.02", 3.0),
    ]
    inputs, graph = _joined(scenes, "640x360", "30")
    ffmpeg(
        *inputs, *_source("sine=frequency=520:beep_factor=3:sample_rate=44100", 6), "-filter_complex", graph,
        "-map", "[v]", "-map", "2:a", *_H264, *_AAC, *_PLAIN, "-metadata", "creation_time=2024-05-17T18:30:00Z", path,
    )  # fmt: skip
    _turn_clockwise(path)


def _turn_clockwise(path: Path) -> None:
    """Writes the display matrix of a phone held upright into the first track.

    By hand, since the option of the ffmpeg program for it differs from release to release.
    """
    data = bytearray(path.read_bytes())
    one = 1 << 16
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))


def _living_cells(path: Path) -> None:
    scenes = [
        ("life=size=120x68:rate=30000/1001:mold=12:ratio=0.4:seed=11:life_color=#00ff7f:death_color=#104e8b", 3.003),
        ("cellauto=size=120x68:rate=30000/1001:rule=30:seed=12:scroll=1|hue=h=90:s=0", 3.003),
    ]
    inputs, graph = _joined(scenes, "480x272", "30000/1001")
    ffmpeg(
        *inputs, *_source("anoisesrc=color=pink:sample_rate=48000:amplitude=0.2:seed=13", 6), "-filter_complex", graph,
        "-map", "[v]", "-map", "2:a", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "600k",
        "-c:a", "libopus", "-b:a", "64k", *_PLAIN, path,
    )  # fmt: skip


def _museum_tour(path: Path) -> None:
    from PIL import Image, ImageDraw, ImageFont

    inputs: list[str | Path] = []
    for number, (heading, color, words) in enumerate(_TOUR):
        slide, speech = path.with_name(f"slide{number}.png"), path.with_name(f"speech{number}.wav")
        picture = Image.new("RGB", (640, 360), color)
        font = ImageFont.load_default(52)
        ImageDraw.Draw(picture).text((320, 180), heading, fill="white", font=font, anchor="mm")
        picture.save(slide)
        sound: tuple[str | Path, ...] = _source("anullsrc=sample_rate=22050:channel_layout=mono", _SLIDE_S)
        if program := shutil.which("espeak-ng"):
            subprocess.run([program, "-v", "en-us", "-s", "175", "-w", speech, words], check=True, timeout=60)
            sound = ("-i", speech)
        inputs += ["-loop", "1", "-framerate", "25", "-t", str(_SLIDE_S), "-i", slide, *sound]
    pairs = range(len(_TOUR))
    graph = "".join(
        f"[{2 * number}:v]noise=alls=4:allf=t:all_seed={number},format=yuv420p[v{number}];"
        f"[{2 * number + 1}:a]aresample=22050,apad,atrim=duration={_SLIDE_S}[a{number}];"
        for number in pairs
    )
    graph += f"{''.join(f'[v{number}][a{number}]' for number in pairs)}concat=n={len(_TOUR)}:v=1:a=1[v][a]"
    ffmpeg(*inputs, "-filter_complex", graph, "-map", "[v]", "-map", "[a]", *_H264, "-crf", "30", *_AAC, *_PLAIN, path)


def _broken(path: Path) -> None:
    """The first half of an mp4 whose index would have come at the end."""
    whole = path.with_name("whole.mp4")
    ffmpeg(*_source("testsrc2=size=320x180:rate=25", 4), *_H264, *_PLAIN, whole)
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) // 2])


CLIPS: dict[str, Callable[[Path], None]] = {
    "four-seasons.mp4": _four_seasons,
    "deep-zoom.mkv": _deep_zoom,
    "night-watch.mp4": _night_watch,
    "fast-cuts.mp4": _fast_cuts,
    "phone-portrait.mov": _phone_portrait,
    "living-cells.webm": _living_cells,
    "museum-tour.mp4": _museum_tour,
    "broken.mp4": _broken,
}


if __name__ == "__main__":
    for clip in make_samples(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES):
        print(f"{clip}  {clip.stat().st_size / 1000:.0f} kB")
