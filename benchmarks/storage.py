"""The scenes stage through the local cache of another store: `python -m benchmarks.storage [FILE] [--rounds N]`.

    plain    the file is in the local folders, as with Media = local
    warm     the same file in another store and in the cache; the stage stores its frame pack there, too
    cold     the file is downloaded first: the cache is empty

The store is another folder of this disk, so cold shows what the cache itself costs, without a network. Each round runs
all of them on the same file. Limit: the median of warm / plain, pairs of one round, is at most 1.05.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

from benchmarks.clips import long_clip
from benchmarks.stage_run import stage_item
from vidpipe.settings import Settings
from vidpipe.settings.storage import Storage
from vidpipe.sources.media_store import hash_file
from vidpipe.stages import scenes
from vidpipe.stages.contract import Item, StageContext
from vidpipe.storage.local_store import LocalStore
from vidpipe.storage.media_files import MediaFiles
from vidpipe.storage.object_store import Progress, media_key, pack_key
from vidpipe.storage.places import MediaPlace
from vidpipe.storage.stores import Stores

LIMIT = 1.05
_REMOTE = "s3://elsewhere"


@dataclass
class _Places:
    """One video whose file is in the other store."""

    packs: dict[str, str] = field(default_factory=dict)

    def get(self, sha256: str) -> MediaPlace:
        return MediaPlace(media=_REMOTE, packs=self.packs)

    find = get

    def note(self, sha256: str, part: str, store: str, was: str | None = None) -> bool:
        self.packs[part.removeprefix("packs.")] = store
        return True


def run_scenes(item: Item, settings: Settings, files: MediaFiles) -> tuple[float, str]:
    """Seconds of the stage, and the version of its pack, which is deleted on this disk."""
    started = time.perf_counter()
    (outcome,) = scenes.STAGE.function([item], StageContext(settings, files=files))
    seconds = time.perf_counter() - started
    if outcome.error:
        raise outcome.error
    assert isinstance(outcome.result, scenes.Scenes)
    assert outcome.result.pack is not None
    files.cache.discard(pack_key(item.sha256, outcome.result.pack.version))
    shutil.rmtree(settings.resolve(outcome.result.pack.path), ignore_errors=True)
    return seconds, outcome.result.pack.version


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, help="a video; without it a clip is made")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    path = options.file or long_clip()
    sha256, size_bytes = hash_file(path, Event())
    key = media_key(sha256, path.suffix)
    with tempfile.TemporaryDirectory(prefix="vidpipe-bench-") as folder:
        here = Settings(home=Path(folder) / "plain")
        there = Settings(home=Path(folder) / "cached", storage=Storage(media=_REMOTE))
        elsewhere = LocalStore(Settings(home=Path(folder) / "elsewhere"))
        for store in (LocalStore(here), elsewhere):
            store.path(key).parent.mkdir(parents=True)
            store.put(key, path, sha256, Progress())
        fields = {**stage_item(path).fields, "raw_video.path": here.relative(LocalStore(here).path(key))}
        item = replace(stage_item(path), sha256=sha256, fields=fields)
        plain, cached = MediaFiles(here), MediaFiles(there, _Places(), Stores(there, {_REMOTE: lambda: elsewhere}))
        seconds: dict[str, list[float]] = {"plain": [], "warm": [], "cold": []}
        versions = set()
        for number in range(options.rounds):
            cached.cache.discard(key)
            for name, settings, files in (("cold", there, cached), *_pair(here, plain, there, cached, number)):
                taken_s, version = run_scenes(item, settings, files)
                seconds[name].append(taken_s)
                versions.add(version)
    if len(versions) != 1:
        print(f"The packs differ: {', '.join(sorted(versions))}")
        return 1
    return _report(path, size_bytes, seconds)


def _pair(
    here: Settings, plain: MediaFiles, there: Settings, cached: MediaFiles, number: int
) -> list[tuple[str, Settings, MediaFiles]]:
    """The pair of one round: now one of them is first, now the other."""
    pair = [("plain", here, plain), ("warm", there, cached)]
    return pair if number % 2 else pair[::-1]


def _report(path: Path, size_bytes: int, seconds: Mapping[str, list[float]]) -> int:
    print(f"{path.name}: {size_bytes / 1e6:.1f} MB")
    for name, each in seconds.items():
        print(f"  {name:6} {min(each):6.2f} s   (rounds: {', '.join(f'{value:.2f}' for value in each)})")
    ratios = [warm / plain for warm, plain in zip(seconds["warm"], seconds["plain"], strict=True)]
    ratio = statistics.median(ratios)
    print(f"  warm / plain: {ratio:.3f} (at most {LIMIT:g}: {'kept' if ratio <= LIMIT else 'MISSED'})")
    print(f"  cold - warm: {min(seconds['cold']) - min(seconds['warm']):.2f} s")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
