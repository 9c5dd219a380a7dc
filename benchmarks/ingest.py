"""What adding sources costs: `python -m benchmarks.ingest [FILES]`.

The job `ingest` adds FILES (200) different local files of a few kilobytes, as `vidpipe add` does. Peer, in the same
run: one bare ffprobe and one sha256 of each. Compared is the CPU time of this process and its children, without
MongoDB's, since the machine may be busy. Limit: 1.5 times the peer.

One video under many URLs: the cost of another URL of a video that has 10,000, against one that has few. Limit: 1.5
times.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.homes import empty_home
from benchmarks.orchestration import make_clips
from vidpipe.library import embedded
from vidpipe.library.library import Library
from vidpipe.library.schema import MOST_KEPT
from vidpipe.pipeline.ingest import run_ingest
from vidpipe.settings import Settings
from vidpipe.sources.records import SourceRecord, StoredVideo
from vidpipe_tests.default_graph import GRAPH

OUT = Path(__file__).parent / "out" / "ingest"
LIMIT = LIMIT_URLS = 1.5
URLS = 10_000
REPEATS = 25


def make_files(count: int) -> list[Path]:
    """Copies of one clip, each with its number in a box at the end."""
    (clip,) = make_clips(OUT / "clip", 1)
    folder = OUT / "files"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:05d}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(clip.read_bytes() + struct.pack(">I4sQ", 16, b"free", number))
    return paths


def cpu_s() -> float:
    return sum(os.times()[:4])


def bare_s(files: list[Path]) -> float:
    began = cpu_s()
    for file in files:
        hashlib.sha256(file.read_bytes())
        command = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(file)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return cpu_s() - began


def ingest_s(files: list[Path], library: Library, settings: Settings) -> tuple[float, float]:
    """(CPU seconds, seconds)."""
    run_ingest(settings, [str(files[0])], mode="hardlink", library=library)  # imports and Dagster's tables
    began, wall = cpu_s(), time.monotonic()
    outcomes = run_ingest(settings, [str(file) for file in files[1:]], mode="hardlink", library=library)
    if wrong := [outcome.sentence for outcome in outcomes if outcome.state != "stored"]:
        raise SystemExit(f"not everything was added: {wrong[:3]}")
    return cpu_s() - began, time.monotonic() - wall


def source(video: str, number: int) -> SourceRecord:
    url = f"https://h.example/{video[:4]}/{number}.mp4"
    return SourceRecord(
        id=f"{video[:1]}{number:031x}", url=url, state="stored", video=video, title=f"Title {number}",
        labels=(f"class {number % 50}",), file_name=f"{number}.mp4",
    )  # fmt: skip


def another_url_s(library: Library) -> tuple[float, float]:
    """Seconds for one more URL of a video that has few, and of one that has `URLS`; measured alternately, since the
    machine may be busy."""
    few, many = "a" * 64, "b" * 64
    known = [source(many, number) for number in range(URLS)]
    for record in known[:MOST_KEPT]:
        add_url(library, record)
    rows = [{"_id": record.id, **record.model_dump(exclude={"id"})} for record in known[MOST_KEPT:]]
    library.collections["sources"].insert_many(rows)
    times = [
        (add_url(library, source(few, number)), add_url(library, source(many, URLS + number)))
        for number in range(REPEATS)
    ]
    return statistics.median(one for one, _ in times), statistics.median(other for _, other in times)


def add_url(library: Library, record: SourceRecord) -> float:
    """Seconds."""
    file = StoredVideo(
        sha256=record.video or "", path="a", size_bytes=1, modified_ns=1, file_name=record.file_name or "",
        url=record.url,
    )  # fmt: skip
    began = time.perf_counter()
    library.sources.record_stored(record, file)
    return time.perf_counter() - began


def main(count: int) -> int:
    settings = empty_home(OUT / "home")
    files = make_files(count + 1)
    with Library.open(settings, GRAPH) as library:
        taken_s, wall_s = ingest_s(files, library, settings)
        peer_s = bare_s(files[1:])
        few_s, many_s = another_url_s(library)
    embedded.stop(settings)
    ratio, ratio_urls = taken_s / peer_s, many_s / few_s
    each = 1000 / count
    print(f"{count} files: {taken_s * each:.1f} ms of CPU time each ({wall_s:.1f} s in all)")
    print(f"one ffprobe and sha256: {peer_s * each:.1f} ms; {ratio:.2f} times (limit {LIMIT:g})")
    print(
        f"another URL of a video: {1000 * few_s:.1f} ms with few, {1000 * many_s:.1f} ms with {URLS:,} known; ", end=""
    )
    print(f"{ratio_urls:.2f} times (limit {LIMIT_URLS:g})")
    reached = ratio <= LIMIT and ratio_urls <= LIMIT_URLS
    print("reached" if reached else "NOT reached")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
