"""Near-duplicates: accuracy on edited clips, and speed with many videos: `python -m benchmarks.duplicates`.

accuracy    each clip of --clips (and generated ones that must not be joined) is edited in 12 ways, all go through
            the stages scenes and fingerprint, and all are compared with all. Recall counts pairs of a clip and its
            edited copy that are in one group, precision all pairs in one group. Limits: 0.95 and 0.99.
scale       100,000 synthetic videos with 20 hashes each, of which every tenth is an edited copy of another one.
            Amplitudes of their pictures fall with the frequency as in photographs, pictures of a scene differ
            little, a tenth of the videos shares its sets with others, a twentieth is nearly still, and a hundredth
            has the same intro. Limits: a new video is compared within 50 ms (p95), all are grouped within 5
            minutes, the process needs at most 1 GB.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from vidpipe.datasets.duplicates.groups import groups_of
from vidpipe.datasets.duplicates.index import DuplicateIndex
from vidpipe.datasets.duplicates.prints import VideoPrint, stored_print
from vidpipe.media.perceptual_hash import _ORDER, Hashes
from vidpipe.media.probe import probe
from vidpipe.settings import Settings
from vidpipe.settings.analyses import Analyses
from vidpipe.stages import scenes
from vidpipe.stages.analyses import fingerprint
from vidpipe.stages.contract import Item, Stage, StageContext, StageResult

_ENCODE = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac")
_CAPTION = (
    "drawbox=x=iw*0.1:y=ih*0.85:w=iw*0.8:h=ih*0.09:color=black@0.6:t=fill,"
    "drawtext=text='A caption at the bottom of it':fontcolor=white:fontsize=h*0.06:x=w*0.15:y=h*0.87"
)
#: Name of an edit -> ffmpeg's filters.
FILTERS = {
    "half": "scale=trunc(iw/4)*2:trunc(ih/4)*2",
    "crop": "crop=trunc(iw*0.475)*2:trunc(ih*0.475)*2",
    "letterbox": "pad=iw:trunc(ih*0.65)*2:0:(oh-ih)/2",
    "logo": "drawbox=x=iw*0.82:y=ih*0.05:w=iw*0.13:h=ih*0.13:color=yellow:t=fill",
    "caption": _CAPTION,
    "bright": "eq=brightness=0.12:contrast=1.1",
    "grey": "hue=s=0",
}
EDITS = (*FILTERS, "crf35", "fps15", "trim", "container", "muted")
#: Videos that look alike, or show nothing: name -> sources of pictures and sound. None is a copy of another one.
_STUDIO = (
    "color=0x405060:s=320x180:d=12:r=25[a];color=0x806040:s=320x60:d=12:r=25[b];smptebars=s=80x60:d=12:r=25,"
    "hue=s=0.4[c];[a][b]overlay=0:120[d];[d][c]overlay=20:20[e];color=0xc09070:s=70x90:d=12:r=25[f];"
    "[e][f]overlay=x='150+{x}*sin(t*{speed})':y='70+{y}*cos(t*{speed}*1.3)'"
)
ALIKE = {
    "studio 1": (_STUDIO.format(x=25, y=12, speed=1.7), "sine=f=300:d=12"),
    "studio 2": (_STUDIO.format(x=18, y=20, speed=2.6), "anoisesrc=d=12:c=pink"),
    "black 1": ("color=black:s=320x180:d=8:r=25", "sine=f=440:d=8"),
    "black 2": ("color=black:s=640x360:d=12:r=25", "anoisesrc=d=12:a=0.3"),
    "white": ("color=white:s=320x180:d=8:r=25", "sine=f=440:d=8"),
    "bars 1": ("smptebars=s=320x180:d=6:r=25", "sine=f=1000:d=6"),
    "bars 2": ("smptebars=s=640x360:d=9:r=25", "anoisesrc=d=9:a=0.3"),
    "title 1": ("color=black:s=320x180:d=5:r=25,drawtext=text='Part one':fontcolor=white:fontsize=36:x=90:y=70", ""),
    "title 2": ("color=black:s=320x180:d=5:r=25,drawtext=text='Part two':fontcolor=white:fontsize=36:x=90:y=70", ""),
    "pattern": ("pal100bars=s=320x180:d=6:r=25", ""),
}


def make_alike(folder: Path) -> dict[str, Path]:
    """Make the videos `ALIKE`."""
    made = {name: folder / f"{name}.mp4" for name in ALIKE}
    for name, (pictures, sound) in ALIKE.items():
        heard = ["-f", "lavfi", "-i", sound] if sound else []
        streams = ["-map", "[v]", *(["-map", "0:a"] if sound else [])]
        _ffmpeg(made[name], "-filter_complex", f"{pictures}[v]", *heard, *streams)
    return made


def edit(clip: Path, name: str, folder: Path) -> Path:
    """Make a copy of a clip, edited in one of the ways `EDITS`."""
    suffix = ".mkv" if name == "container" and clip.suffix == ".mp4" else ".mp4"
    made = folder / f"{clip.stem}.{name}{suffix}"
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
    filters = f"{FILTERS[name]},{even}" if name in FILTERS else even
    options = {
        "crf35": ("-crf", "35"),
        "fps15": ("-r", "15"),
        "muted": ("-an",),
        "trim": ("-ss", f"{0.2 * (probe(clip).duration_s or 0):.3f}"),
    }
    if name == "container":
        return _ffmpeg(made, "-i", str(clip), "-map", "0:v:0", "-map", "0:a:0?", "-c", "copy", encode=())
    return _ffmpeg(made, "-i", str(clip), "-vf", filters, *options.get(name, ()))


def _ffmpeg(made: Path, *arguments: str, encode: Sequence[str] = _ENCODE) -> Path:
    if not made.exists():
        command = ["ffmpeg", "-nostdin", "-y", "-v", "error", *arguments, *encode, str(made)]
        subprocess.run(command, check=True)
    return made


def print_of(path: Path, home: Path) -> VideoPrint:
    """Return the fingerprint of a file, from the stages scenes and fingerprint; it is called as the file."""
    settings = Settings(home=home, analyses=Analyses(enabled=("fingerprint",)))
    info = probe(path)
    fields = {"raw_video.path": str(path.absolute()), "raw_video.content": "0" * 64}
    fields |= {f"metadata.{name}": getattr(info, name) for name in type(info).model_fields}
    cut = _result(scenes.STAGE, Item(path.name, fields), settings)
    fields |= {f"scenes.{name}": getattr(cut, name) for name in type(cut).model_fields}
    found = _result(fingerprint.STAGE, Item(path.name, fields), settings)
    one = stored_print({"_id": path.name, "fingerprint": found.model_dump()})
    assert one
    return one


def _result(stage: Stage, item: Item, settings: Settings) -> StageResult:
    (outcome,) = stage.function([item], StageContext(settings=settings))
    if outcome.error:
        raise outcome.error
    assert outcome.result
    return outcome.result


def pairs_in_groups(prints: Sequence[VideoPrint]) -> set[frozenset[str]]:
    """Return all pairs of videos that are in one group."""
    groups = groups_of(DuplicateIndex(prints).all_matches(), set())
    return {frozenset(pair) for group in groups for pair in combinations(group, 2)}


def accuracy(clips: Sequence[Path], folder: Path) -> tuple[float, float, list[str]]:
    """Return recall, precision and what is wrong."""
    alike = make_alike(folder)
    copies = {edit(clip, name, folder).name: clip.name for clip in clips for name in EDITS}
    source = {clip.name: clip.name for clip in (*clips, *alike.values())} | copies
    files = [*clips, *alike.values(), *(folder / name for name in copies)]
    with tempfile.TemporaryDirectory() as home:
        found = pairs_in_groups([print_of(file, Path(home)) for file in files])
    missed = [name for name, clip in copies.items() if frozenset({name, clip}) not in found]
    wrong = [" = ".join(sorted(pair)) for pair in found if len({source[name] for name in pair}) > 1]
    return 1 - len(missed) / len(copies), 1 - len(wrong) / max(1, len(found)), [*missed, *sorted(wrong)]


def synthetic_prints(count: int, pictures: int = 20, seed: int = 7) -> Iterator[VideoPrint]:
    """Yield videos as `scale` needs them; one called "N of M" is a copy of M."""
    random = np.random.default_rng(seed)
    down, across = np.divmod(_ORDER, 16)
    amplitude = 1 / np.maximum(1, np.hypot(down, across))
    # skies above, floors below, centered subjects: what photographs have in common
    common = random.normal(size=256) * np.where(np.hypot(down, across) < 4, 0.5, 0.1)
    sets = [random.laplace(size=256) for _ in range(max(1, count // 100))]
    intro = random.laplace(size=256) + 0.25 * random.normal(size=(4, 256))
    earlier: list[tuple[str, Hashes]] = []
    for number in range(count):
        name = f"{number}"
        if number % 10 == 9:
            source, original = earlier[int(random.integers(len(earlier)))]
            name = f"{number} of {source}"
            bits = np.unpackbits(original.view(np.uint8), axis=1)
            bits ^= random.random(bits.shape) < random.choice([0.02, 0.08, 0.15])
            hashes = np.packbits(bits, axis=1).view(np.uint64)
        else:
            scene = random.integers(0, 5, pictures).cumsum() // 8
            looks = common + random.laplace(size=(scene[-1] + 1, 256))
            if number % 10 == 0:
                looks = looks * 0.4 + sets[int(random.integers(len(sets)))]
            moving = 0.02 if number % 20 == 3 else 0.25
            values = looks[scene if moving > 0.1 else scene * 0] + moving * random.normal(size=(pictures, 256))
            if number % 100 == 5:
                values[: len(intro)] = intro
            values *= amplitude
            hashes = np.packbits(values > 0, axis=1).view(np.uint64)
            earlier.append((name, hashes))
        flat, audio = np.zeros(pictures, np.bool_), np.zeros(0, np.uint16)
        yield VideoPrint(name, pictures / 2, 0.5, hashes, flat, audio)


def scale(count: int) -> None:
    """Measure and print."""
    started = time.perf_counter()
    prints = list(synthetic_prints(count))
    copies = [(one.video, one.video.split(" of ")[1]) for one in prints if " of " in one.video]
    index = DuplicateIndex(prints)
    print(f"{count} videos made and indexed in {time.perf_counter() - started:.0f} s")
    latencies, used = [], []
    for new in synthetic_prints(300, seed=8):
        started, began = time.perf_counter(), time.process_time()
        index.matches(new)
        latencies.append(1000 * (time.perf_counter() - started))
        used.append(1000 * (time.process_time() - began))
    print(f"compared in {np.median(latencies):.1f} ms, p95 {np.percentile(latencies, 95):.1f} ms (limit 50)")
    print(f"  of processor time {np.median(used):.1f} ms, p95 {np.percentile(used, 95):.1f} ms")
    started, began = time.perf_counter(), time.process_time()
    groups = groups_of(index.all_matches(), set())
    print(f"{len(groups)} groups of {count // 10} copies in {time.perf_counter() - started:.0f} s (limit 300)")
    print(f"  of processor time {time.process_time() - began:.0f} s")
    joined = {frozenset(pair) for group in groups for pair in combinations(group, 2)}
    found = sum(frozenset(pair) in joined for pair in copies)
    wrong = sum(len({name.split(" of ")[-1] for name in pair}) > 1 for pair in joined)
    print(f"  {found} of {len(copies)} copies with the video they are of, {wrong} wrong pairs")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB (limit 1024)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder with clips; without, only the scale is measured")
    parser.add_argument("--videos", type=int, default=100_000, help="0: only accuracy")
    options = parser.parse_args()
    if options.clips:
        clips = sorted(file for file in options.clips.iterdir() if file.suffix in (".mp4", ".mkv", ".mov"))
        with tempfile.TemporaryDirectory() as folder:
            recall, precision, faults = accuracy(clips, Path(folder))
        print(f"recall {recall:.4f} (limit 0.95), precision {precision:.4f} (limit 0.99)", *faults, sep="\n  ")
    if options.videos:
        scale(options.videos)


if __name__ == "__main__":
    main()
