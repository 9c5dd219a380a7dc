"""From a line in the watched list to a tagged video, on an idle machine: `python -m benchmarks.line_to_tags [TIMES]`.

A home is brought up with `vidpipe up` and the settings of a fresh install. Then TIMES (5) times a new URL is written
into data/urls.txt; measured is the time until its video has tags and a category. Against it, in the same run: the
same by hand, `vidpipe add URL` and `vidpipe run`, two processes one after another; the limit is three times that.
Printed besides: when the video came in, when each step was done, and the start-up: of `vidpipe run`, the time besides
that of its report; of a launched run, from its launch to the start of its work.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import dagster as dg

from benchmarks.orchestration import make_clips
from vidpipe.library import embedded
from vidpipe.library.connection import Connection, connect
from vidpipe.pipeline.instance import instance
from vidpipe.pipeline.run_launcher import LAUNCHED_TAG
from vidpipe.settings import Settings, init_home, load

OUT = Path(__file__).parent / "out" / "line_to_tags"
VIDPIPE = Path(sys.executable).with_name("vidpipe")
LIMIT_TIMES = 3.0
STEPS = {"raw_video": "came in", "scenes": "prepared", "descriptions": "described", "categories": "tagged"}
LIMIT_S = 300.0


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def vidpipe(settings: Settings, *args: str) -> str:
    environment = {
        **os.environ, "VIDPIPE_HOME": str(settings.home), "VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE": "127.0.0.1",
    }  # fmt: skip
    done = subprocess.run([VIDPIPE, *args], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"vidpipe {' '.join(args)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def launched_starts(settings: Settings) -> list[float]:
    """Seconds from the launch to the start of the work, of the runs that Dagster has launched."""
    found = []
    with instance(settings) as dagster:
        for run in dagster.get_runs(dg.RunsFilter(tags={LAUNCHED_TAG: "yes"})):
            times = {entry.dagster_event_type: entry.timestamp for entry in dagster.all_logs(run.run_id)}
            found.append(times[dg.DagsterEventType.STEP_START] - times[dg.DagsterEventType.PIPELINE_STARTING])
    return found


def follow(connection: Connection, url: str, began: float) -> dict[str, float]:
    """step -> seconds after `began` at which the video of `url` had passed it."""
    passed: dict[str, float] = {}
    while len(passed) < len(STEPS):
        video = connection.collection("videos").find_one({"ingest.urls": url}, {"stages": 1})
        now = time.monotonic() - began
        for stage, step in STEPS.items():
            there = video is not None and (stage == "raw_video" or video["stages"][stage]["status"] == "ok")
            if there:
                passed.setdefault(step, now)
        if now > LIMIT_S:
            raise SystemExit(f"{url} was not tagged within {LIMIT_S:.0f} s: {passed}")
        time.sleep(0.05)
    return passed


def main(times: int) -> int:
    if OUT.exists():
        embedded.stop(Settings(home=OUT / "home"))
        shutil.rmtree(OUT)
    clips = make_clips(OUT / "clips", 2 * times)
    init_home(OUT / "home")
    settings = load(OUT / "home", {}).settings
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(OUT / "clips")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    urls = [f"http://127.0.0.1:{server.server_port}/{clip.name}" for clip in clips]
    vidpipe(settings, "up")
    try:
        time.sleep(20)  # what starts with the servers has settled
        by_list: list[dict[str, float]] = []
        by_hand: list[float] = []
        starts: list[float] = []
        with connect(settings) as connection:
            for listed, typed in zip(urls[:times], urls[times:], strict=True):
                with (settings.data_directory / "urls.txt").open("a") as file:
                    file.write(f"{listed}\n")
                by_list.append(follow(connection, listed, time.monotonic()))
                time.sleep(5)
                began = time.monotonic()
                vidpipe(settings, "add", typed)
                added = time.monotonic()
                report = json.loads(vidpipe(settings, "run", "--json"))
                by_hand.append(time.monotonic() - began)
                starts.append(time.monotonic() - added - report["seconds"])
        launched = launched_starts(settings)
    finally:
        vidpipe(settings, "down")
        server.shutdown()
    print(f"{times} times, seconds after the line was written (median, longest):")
    for step in STEPS.values():
        seconds = [passed[step] for passed in by_list]
        print(f"  {step:10} {median(seconds):6.1f} {max(seconds):6.1f}")
    hand, tagged = median(by_hand), median(passed["tagged"] for passed in by_list)
    print(f"by hand, `vidpipe add` and `vidpipe run`: {hand:.1f} s")
    print(f"the line takes {tagged / hand:.1f} times that (limit {LIMIT_TIMES:.0f})")
    print(f"start-up of `vidpipe run`: {median(starts):.1f} s; of a launched run: {median(launched):.1f} s")
    return int(tagged > LIMIT_TIMES * hand)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
