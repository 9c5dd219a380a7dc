"""Search in a large library: `python -m benchmarks.search [--videos N] [--rounds N]`.

100,000 videos and 500,000 scenes in a real mongod (see `benchmarks.described_library`). Printed, each with its limit:

    build       the index from nothing, in a process of its own, and that process's peak memory
    open        an index that is current, when no change is younger than two leases; younger ones are looked at again
    catch up    with 1,000 changed videos, the slowest of three times
    queries     some 50 kinds, five of each with other words: median, 95th percentile and slowest, with facets; the
                CPU column is the median of this process's time on all cores, without MongoDB's
    $text       the same words in the same database through MongoDB's text index, the 20 best with their scores

Peak memory includes the index's files as far as they were mapped. The limit of `build` is in proportion to the size.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from pymongo import TEXT, MongoClient, UpdateOne

from benchmarks.described_library import SCENES_PER_VIDEO, english, fill_described
from benchmarks.homes import empty_home
from vidpipe.library import embedded
from vidpipe.library.changes import Changes
from vidpipe.library.leases import LEASE_S
from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.search.engine import Engine
from vidpipe.search.index import SearchIndex, rebuild
from vidpipe.settings import Settings, load
from vidpipe_tests.default_graph import GRAPH

OUT = Path(__file__).parent / "out" / "search"
VIDEOS = 100_000
BUILD_S, OPEN_MS, CATCH_UP_S, QUERY_MS = 90.0, 15.0, 1.0, 50.0
CHANGED = 1000
VARIANTS = 5
DEEP = 10_000
#: Its fields and their weights: what MongoDB's text index held before there was an engine.
_TEXT_INDEX = {
    "ingest.names": 6, "ingest.labels": 10, "ingest.titles": 8, "metadata.title": 8, "tags.tag": 10,
    "category.category": 8, "description.text": 4, "description.summary": 4, "description.keywords": 6,
    "metadata.cues.text": 2,
}  # fmt: skip


#: Kind of query -> ms of each.
Times = dict[str, list[float]]


@dataclass(frozen=True)
class Case:
    """One kind of query.

    Attributes:
        query: Query with {common}, {usual}, {rare} or {misspelt} in the place of words.
        text: The same for `$text`; "": it cannot ask this.
        options: Of `Engine.find`.
    """

    query: str
    text: str = ""
    options: dict[str, Any] = field(default_factory=dict)


#: A word in every second video or so, one in a few of a hundred, one in a few of 100,000.
_RANKS = {"common": (20, 60), "usual": (200, 1000), "rare": (20_000, 30_000)}
CASES = {
    "a stop word": Case("the", "the"),
    "common word": Case("{common}", "{0}"),
    "usual word": Case("{usual}", "{0}"),
    "rare word": Case("{rare}", "{0}"),
    "absent word": Case("qqqq{rare}", "qqqq{0}"),
    "misspelt word": Case("{misspelt}"),
    "two common words": Case("{common} {common}", '"{0}" "{1}"'),
    "five common words": Case("{common} {common} {common} {common} {common}"),
    "common and rare word": Case("{common} {rare}", '"{0}" "{1}"'),
    "words never together": Case("{rare} {rare} {rare}", "{0} {1} {2}"),
    "phrase of common words": Case('"{common} {common}"', '"{0} {1}"'),
    "phrase with stop words": Case('"in the {common}"', '"in the {0}"'),
    "OR of common words": Case("{common} OR {common}", "{0} {1}"),
    "OR of ten words": Case(" OR ".join(["{usual}"] * 10), " ".join(f"{{{n}}}" for n in range(10))),
    "common, NOT common": Case("{common} -{common}", "{0} -{1}"),
    "NOT alone": Case("-{common}"),
    "brackets": Case("({common} OR {usual}) ({common} OR {usual}) -{rare}"),
    "prefix": Case("{prefix3}*"),
    "short prefix": Case("s*"),
    "prefix in a phrase": Case('"the {prefix3}*"'),
    "tag": Case("tag:{tag}"),
    "tag and duration": Case("tag:{tag} duration:>60"),
    "tag, category and word": Case("tag:{tag} category:Nature {common}"),
    "two tags": Case("tag:{tag} tag:{tag}"),
    "label": Case('label:"people 1"'),
    "resolution": Case("resolution:4k {common}"),
    "size": Case("resolution:1280x720"),
    "codec and language": Case("codec:hevc language:german"),
    "duration range": Case("duration:1m..5m"),
    "frame rate": Case("fps:30"),
    "added since": Case("added:>2026-01-01 {common}"),
    "title": Case("title:{usual}"),
    "file": Case("file:{usual}"),
    "source": Case("source:videos.example/{common}"),
    "said": Case("said:{common}"),
    "scene": Case('scene:"{common} {usual}"'),
    "state": Case("state:failed"),
    "state and word": Case("state:current {common}"),
    "German": Case("Häuser am Fluss", '"Häuser" "Fluss"'),
    "Chinese": Case("长城", "长城"),
    "everything": Case(""),
    "everything by name": Case("", options={"order": "name"}),
    "everything by duration": Case("", options={"order": "duration"}),
    "common word by date": Case("{common}", options={"order": "date"}),
    "common word by name": Case("{common}", options={"order": "name"}),
    "common word, moments": Case("{common}", options={"moments": True}),
    "phrase, moments": Case('"{common} {common}"', options={"moments": True}),
    "common word, 100 hits": Case("{common}", "{0}", {"limit": 100}),
    "common word, deep page": Case("{common}", options={"deep": True}),
    "by date, deep page": Case("", options={"deep": True, "order": "date"}),
    "common word, offset": Case("{common}", options={"offset": DEEP}),
}


class Filler:
    """Puts words of the vocabulary into queries."""

    def __init__(self) -> None:
        self._words = english()
        self._random = random.Random(11)

    def word(self, kind: str) -> str:
        if kind == "tag":
            return self._random.choice(self._words[40:60])
        if kind == "misspelt":
            word = self._random.choice([word for word in self._words[60:1000] if len(word) > 5])
            return word[:2] + word[3] + word[2] + word[4:]
        if kind == "prefix3":
            return self._random.choice([word for word in self._words[40:1000] if len(word) > 5])[:3]
        return self._random.choice(self._words[slice(*_RANKS[kind])])

    def fill(self, case: Case) -> tuple[str, str]:
        """(query, the same for `$text`)."""
        used: list[str] = []

        def word(place: re.Match[str]) -> str:
            used.append(self.word(place[1]))
            return used[-1]

        query = re.sub(r"\{(\w+)\}", word, case.query)
        return query, case.text.format(*used)


def in_process(part: str, settings: Settings, videos: int) -> dict[str, float]:
    """What `part` returns, run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.search", "--part", part, "--videos", str(videos)]
    done = subprocess.run([*command, str(settings.home)], check=True, stdout=subprocess.PIPE, text=True, timeout=3600)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def fill(settings: Settings, library: Library, videos: int) -> dict[str, float]:
    began = time.perf_counter()
    fill_described(library, settings, OUT / "prototypes", videos)
    return {"seconds": time.perf_counter() - began}


def build(settings: Settings, library: Library, videos: int) -> dict[str, float]:
    began, busy = time.perf_counter(), time.process_time()
    rebuild(library)
    taken = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - busy}
    size = sum(path.stat().st_size for path in settings.index_directory.rglob("*") if path.is_file())
    return taken | {"peak_mib": peak_mib(), "index_mib": size / (1 << 20)}


def peak_mib(process: int | str = "self") -> float:
    """Of a process, by default this one; unlike ru_maxrss, not of the one that started it."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


PARTS: dict[str, Callable[[Settings, Library, int], dict[str, float]]] = {"fill": fill, "build": build}


def ms(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def opening(library: Library) -> float:
    """Median ms of opening and closing a current index."""

    def once() -> None:
        with SearchIndex.open(library):
            pass

    return median(ms(once) for _ in range(21))


def catching_up(library: Library, index: SearchIndex) -> tuple[list[float], float]:
    """(ms of each time that 1,000 videos had changed, median ms of looking again right after)."""
    videos = library.collections["videos"]
    changes = Changes(library.collections)
    some = [row["_id"] for row in videos.aggregate([{"$sample": {"size": CHANGED}}, {"$project": {"_id": 1}}])]
    taken = []
    for turn in range(3):
        writes = [
            UpdateOne({"_id": sha256}, {"$set": {"description.summary": f"Changed in turn {turn}.", "change_seq": seq}})
            for sha256, seq in zip(some, changes.take(len(some)), strict=True)
        ]
        videos.bulk_write(writes, ordered=False)
        taken.append(ms(index.refresh))
    return taken, median(ms(index.refresh) for _ in range(11))


def asked(engine: Engine, case: Case, query: str) -> tuple[float, float]:
    """(ms, ms of this process's CPU)."""
    options = dict(case.options)
    if options.pop("deep", False):
        total = engine.find(query, limit=1, **options).total
        options["after"] = engine.find(query, offset=max(0, min(DEEP, total - 40)), facets=False, **options).next
    busy = time.process_time()
    taken = ms(lambda: engine.find(query, **options))
    return taken, 1000 * (time.process_time() - busy)


def index_for_text(library: Library) -> None:
    """Build the text index; that may take longer than the library's connection waits."""
    with MongoClient[dict[str, Any]](embedded.start(library.settings).uri) as client:
        videos = client[library.settings.mongodb.database_name][library.collections["videos"].name]
        keys = [(name, TEXT) for name in _TEXT_INDEX]
        videos.create_index(keys, weights=_TEXT_INDEX, default_language="english", language_override="no")


def text_asked(library: Library, words: str, limit: int) -> float:
    score = {"score": {"$meta": "textScore"}}
    found = library.collections["videos"].find({"$text": {"$search": words}}, {"ingest.names": 1} | score)
    return ms(lambda: list(found.sort([("score", {"$meta": "textScore"})]).limit(limit)))


def queries(library: Library, engine: Engine, rounds: int) -> tuple[Times, Times, Times]:
    """Of each kind, ms of its queries in the engine; of CPU for them; and through `$text`."""
    filler = Filler()
    variants = {name: [filler.fill(case) for _ in range(VARIANTS)] for name, case in CASES.items()}
    engine.find("the")  # loads what the first query loads
    found: Times = {name: [] for name in CASES}
    cpu: Times = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, case in CASES.items():
            for query, _ in variants[name]:
                taken, busy = asked(engine, case, query)
                found[name].append(taken)
                cpu[name].append(busy)
    index_for_text(library)
    peer: Times = {name: [] for name, case in CASES.items() if case.text}
    for name, taken in peer.items():
        taken += [text_asked(library, text, CASES[name].options.get("limit", 20)) for _, text in variants[name]]
    return found, cpu, peer


def quantile(times: Sequence[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def shown(times: Sequence[float]) -> str:
    return f"{quantile(times, 0.5):8.1f} {quantile(times, 0.95):8.1f} {max(times):8.1f}"


def table(found: Times, cpu: Times, peer: Times) -> Iterator[str]:
    yield f"{'ms':26}{'p50':>8} {'p95':>8} {'max':>8} {'CPU p50':>8}   $text:{'p50':>8} {'p95':>8} {'max':>8}"
    for name, times in found.items():
        of_peer = f"         {shown(peer[name])}" if name in peer else ""
        yield f"{name:26}{shown(times)} {quantile(cpu[name], 0.5):8.1f}{of_peer}"
    both, all_of_peer = chain(*(found[name] for name in peer)), chain(*peer.values())
    yield f"{'all that $text can ask':26}{shown([*both])}                  {shown([*all_of_peer])}"
    yield f"{'all':26}{shown([*chain(*found.values())])} {quantile([*chain(*cpu.values())], 0.5):8.1f}"


def report(limits: Mapping[str, bool]) -> int:
    """Print which figures are within their limits; return 0 if all are."""
    for figure, kept in limits.items():
        print(f"{'reached' if kept else 'NOT reached'}: {figure}")
    return 0 if all(limits.values()) else 1


def main(videos: int, rounds: int) -> int:
    settings = empty_home(OUT / "home")
    filling = in_process("fill", settings, videos)
    print(
        f"{videos} videos, about {SCENES_PER_VIDEO * videos} scenes, stored in {filling['seconds']:.0f} s", flush=True
    )
    built = in_process("build", settings, videos)
    settled = time.monotonic() + 2 * LEASE_S
    print(
        f"build: {built['seconds']:.1f} s, CPU {built['cpu']:.1f} s; peak memory {built['peak_mib']:.0f} MiB; index "
        f"{built['index_mib']:.0f} MiB",
        flush=True,
    )
    plan = Plan.make(GRAPH, settings)
    with Library.open(settings, GRAPH) as library:
        unsettled = opening(library)
        time.sleep(max(0.0, settled - time.monotonic()))
        opened = opening(library)
        print(f"open: {opened:.1f} ms; right after the build {unsettled:.1f} ms", flush=True)
        with SearchIndex.open(library) as index:
            caught_up, again = catching_up(library, index)
            each = ", ".join(f"{taken:.0f}" for taken in caught_up)
            print(f"catch up with {CHANGED} videos: {each} ms; looking again right after: {again:.1f} ms", flush=True)
            found, cpu, peer = queries(library, Engine(library, plan.specs, index), rounds)
    plan.close()
    embedded.stop(settings)
    print("\n".join(table(found, cpu, peer)))
    print(f"peak memory of the process that asked: {peak_mib():.0f} MiB")
    slow = [name for name, times in found.items() if quantile(times, 0.95) > QUERY_MS]
    limits = {
        f"build {built['seconds']:.1f} s": built["seconds"] <= BUILD_S * videos / VIDEOS,
        f"open {opened:.1f} ms": opened <= OPEN_MS,
        f"catch up {max(caught_up):.0f} ms": max(caught_up) <= 1000 * CATCH_UP_S,
        f"queries over {QUERY_MS:.0f} ms: {', '.join(slow) or 'none'}": not slow,
    }
    return report(limits)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=VIDEOS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("home", nargs="?")
    given = parser.parse_args()
    if given.part:
        with Library.open(load(Path(given.home), {}).settings, GRAPH) as part_library:
            print(json.dumps(PARTS[given.part](part_library.settings, part_library, given.videos)))
    else:
        sys.exit(main(given.videos, given.rounds))
