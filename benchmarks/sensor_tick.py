"""What a look of the sensor url_list costs: `python -m benchmarks.sensor_tick [KNOWN] [NEW]`.

A list of KNOWN (100,000) lines is seen for the first time, looked at unchanged, and looked at again with NEW (1,000)
lines more, by the very sensor, with a MongoDB and a Dagster instance of its own. Peer, in the same run: reading the
file, set difference with the known lines (kept in memory) and one bulk insert of the NEW ones as `{_id, url}` into a
collection without indexes. It knows no options, no two spellings of one URL, no secrets and no removed lines.

    first sight   all lines become sources, in as many looks as it takes; the longest of them
    unchanged     the list as it was
    new lines     the NEW ones become sources
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import sys
import time
import warnings
from pathlib import Path

import dagster as dg

from vidpipe.library import embedded
from vidpipe.library.library import Library
from vidpipe.pipeline.ingest import url_list_sensor
from vidpipe.pipeline.instance import instance
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.settings import Settings, init_home, load
from vidpipe.sources.list_watch import DEFAULT_TIMING
from vidpipe_tests.default_graph import GRAPH

OUT = Path(__file__).parent / "out" / "sensor_tick"
LIMIT_S = 60.0
REPEATS = 3


class TickingSensor:
    """The sensor with the cursor that the daemon would keep."""

    def __init__(self, settings: Settings, dagster: dg.DagsterInstance) -> None:
        self._sensor = url_list_sensor(GRAPH, settings)
        self._dagster = dagster
        self._resource = LibraryResource(home=str(settings.home))
        self.cursor: str | None = None

    def tick(self) -> tuple[float, int]:
        """(seconds, runs asked for)."""
        began = time.monotonic()
        with dg.build_sensor_context(
            self._dagster, cursor=self.cursor, resources={"library": self._resource}
        ) as context:
            data = self._sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return time.monotonic() - began, len(data.run_requests or ())

    def read_to_its_end(self) -> bool:
        (state,) = json.loads(self.cursor or "")["lists"].values()
        return bool(state["read"] == state["seen"]["signature"])


def line(number: int) -> str:
    return f"https://media-{number % 17}.example.org/archive/{number // 1000:03d}/reel-{number:06d}.mp4"


def write(path: Path, lines: list[str]) -> None:
    part = path.with_suffix(".part")
    part.write_text("\n".join([*lines, ""]))
    part.replace(path)
    time.sleep(DEFAULT_TIMING.list_rest_s + 0.1)


def peer(path: Path, known: set[bytes], library: Library) -> float:
    """Reading, set difference, one bulk insert."""
    collection = library.connection.database["peer"]
    collection.drop()
    began = time.monotonic()
    new = [one for one in path.read_bytes().splitlines() if one not in known]
    collection.insert_many(
        [{"_id": hashlib.sha256(one).hexdigest()[:32], "url": one.decode()} for one in new], ordered=False
    )
    return time.monotonic() - began


def main(known: int, new: int) -> int:
    warnings.simplefilter("ignore")
    if OUT.exists():
        embedded.stop(Settings(home=OUT))
        shutil.rmtree(OUT)
    init_home(OUT)
    settings = load(OUT, {}).settings
    listed = OUT / settings.paths.source_lists[0]
    lines = [line(number) for number in range(known)]
    with Library.open(settings, GRAPH) as library, instance(settings) as dagster:
        sources = library.collections["sources"]
        sensor = TickingSensor(settings, dagster)
        sensor.tick()
        write(listed, lines)
        looks = []
        while sources.estimated_document_count() < known or not sensor.read_to_its_end():
            looks.append(sensor.tick()[0])
        unchanged = statistics.median(sensor.tick()[0] for _ in range(REPEATS))
        seconds, peers = [], []
        for repeat in range(REPEATS):
            before = {one.encode() for one in lines}
            added = [line(known + repeat * new + number) for number in range(new)]
            lines = [*lines[: known // 2], *added, *lines[known // 2 :]]
            write(listed, lines)
            seconds.append(sensor.tick()[0])
            peers.append(peer(listed, before, library))
            if sources.estimated_document_count() != len(lines):
                raise SystemExit(f"{sources.estimated_document_count()} sources of {len(lines)} lines")
    embedded.stop(settings)
    look, plain = statistics.median(seconds), statistics.median(peers)
    print(f"{known} known lines")
    print(
        f"first sight  {sum(looks):7.2f} s in {len(looks)} looks, the longest {max(looks):.2f} s (limit {LIMIT_S:g} s)"
    )
    print(f"unchanged    {unchanged:7.3f} s")
    print(f"{new} new lines {look:.3f} s; read, set difference, one bulk insert {plain:.3f} s: {look / plain:.1f}x")
    reached = max(*looks, look) < LIMIT_S
    print("reached" if reached else "NOT reached")
    return 0 if reached else 1


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:3]]
    sys.exit(main(*given, *(100_000, 1000)[len(given) :]))
