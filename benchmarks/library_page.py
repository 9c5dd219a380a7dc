"""The library page under load: `python -m benchmarks.library_page [--videos N] [--rounds N] [--clips N]`.

The library of `benchmarks.search` (100,000 videos, 500,000 scenes), with the server of the library page as a process of
its own on this machine. Printed, each with its limit:

    pages       95th percentile of `GET /` and of `GET /api/v1/videos` with facets, over many queries, one client
    thumbnails  50 thumbnails of a page, over six connections as a browser opens them: 95th percentile of 20 times
    a run       of 60 mixed videos, by `vidpipe run --force`: its time alone, and while twenty people use the page; and
                the errors they see

A person loads a page, then its first thumbnails, looks at it for some seconds (4 on average), and goes on. Runs with
and without people alternate; the shortest of each counts. On a busy machine only the CPU time of the server compares.
"""

from __future__ import annotations

import argparse
import html
import http.client
import math
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlencode

import psutil

from benchmarks.clips import mixed_clips
from benchmarks.homes import empty_home
from benchmarks.search import VIDEOS, Case, Filler, in_process, peak_mib, quantile, report, shown
from vidpipe.library import embedded
from vidpipe.settings import Settings

OUT = Path(__file__).parent / "out" / "library_page"
PAGE_MS, THUMBNAILS_MS, RUN_RATIO = 150.0, 200.0, 1.1
PEOPLE, LOOK_S, LEAST_S = 20, 4.0, 30.0
THUMBNAILS, CONNECTIONS, TIMES, FIRST = 50, 6, 20, 12
#: Query strings of pages, filled as those of `benchmarks.search`.
PAGES: tuple[dict[str, Any], ...] = (
    {},
    {"order": "name"},
    {"order": "duration"},
    {"q": "{usual}"},
    {"q": "{common}"},
    {"q": "{common} {rare}"},
    {"q": '"{common} {common}"'},
    {"q": "{common}", "moments": "true"},
    {"filter": "tag:{tag}"},
    {"filter": ["tag:{tag}", "category:Nature"]},
    {"filter": ["resolution:4k", "codec:hevc"], "q": "{usual}"},
    {"filter": "language:german", "order": "date"},
    {"filter": "state:failed"},
    {"q": "duration:1m..5m", "limit": 100},
)
_THUMBNAIL = re.compile(rb'src="(/api/v1/videos/[0-9a-f]{64}/thumbnail[^"]*)"')
#: Whoever asks this often is refused otherwise.
ENVIRONMENT = os.environ | {"VIDPIPE_LIBRARYPAGE_REQUESTSPERMINUTE": "0"}


@dataclass
class Client:
    """Asks the server over one connection, as a browser does.

    Attributes:
        errors: What went wrong.
    """

    port: int
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def get(self, path: str) -> tuple[float, bytes]:
        """(ms, body); an answer other than 200 is an error."""
        began, body = time.perf_counter(), b""
        try:
            status, body = self._answer(path)
            if status != http.HTTPStatus.OK:
                self.errors.append(f"{status} {path}")
        except (OSError, http.client.HTTPException) as error:
            self.errors.append(f"{type(error).__name__} {path}")
            self._connection.close()
        return 1000 * (time.perf_counter() - began), body

    def _answer(self, path: str) -> tuple[int, bytes]:
        try:
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
        except http.client.RemoteDisconnected:  # servers close idle connections; browsers then open another
            self._connection.close()
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
        return answer.status, answer.read()


@contextmanager
def serving(settings: Settings) -> Iterator[tuple[int, int]]:
    """(port, process id) of a server of the library page."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vidpipe.web.server", "--home", str(settings.home), "--port", str(port)]
    process = subprocess.Popen(command, env=ENVIRONMENT)
    try:
        began, client = time.monotonic(), Client(port)
        while b'"ok"' not in client.get("/api/v1/health")[1]:
            if process.poll() is not None or time.monotonic() - began > 120:
                raise SystemExit("the server does not answer")
            time.sleep(0.1)
        client.get("/api/v1/videos")  # the index catches up
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def query_strings(filler: Filler) -> list[str]:
    """One of each kind of page, with other words every time."""
    filled = []
    for page in PAGES:
        pairs = ((key, one) for key, value in page.items() for one in (value if isinstance(value, list) else [value]))
        filled.append(urlencode([(key, filler.fill(Case(str(value)))[0]) for key, value in pairs]))
    return filled


def pages(client: Client, server: psutil.Process, path: str, rounds: int) -> dict[str, list[float]]:
    """Kind of page -> ms of each. Prints them."""
    filler, found = Filler(), {unquote_plus(urlencode(page, doseq=True)) or "everything": [] for page in PAGES}
    busy_s = sum(server.cpu_times()[:2])
    for _ in range(rounds):
        for times, query in zip(found.values(), query_strings(filler), strict=True):
            times.append(client.get(f"{path}?{query}")[0])
    cpu_ms = 1000 * (sum(server.cpu_times()[:2]) - busy_s) / (rounds * len(PAGES))
    print(f"{f'GET {path}, ms':40}{'p50':>8} {'p95':>8} {'max':>8}")
    print("\n".join(f"{name[:39]:40}{shown(ms)}" for name, ms in found.items()))
    print(f"{'all':40}{shown([*chain(*found.values())])}   CPU of the server, mean: {cpu_ms:.1f}", flush=True)
    return found


def posters(page: bytes, count: int) -> list[str]:
    """The addresses of the first thumbnails of a page."""
    return [html.unescape(url.decode()) for url in _THUMBNAIL.findall(page)[:count]]


def thumbnails(port: int) -> tuple[list[float], list[str]]:
    """(ms of all thumbnails of a page, each of several times; errors)."""
    clients = [Client(port) for _ in range(CONNECTIONS)]
    urls = posters(clients[0].get(f"/?limit={THUMBNAILS}")[1], THUMBNAILS)
    if len(urls) < THUMBNAILS:
        return [], [f"the page has {len(urls)} thumbnails"]
    taken = []
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in range(TIMES):
            waiting = iter(urls)
            lock = threading.Lock()

            def take(client: Client, waiting: Iterator[str] = waiting, lock: threading.Lock = lock) -> None:
                while True:
                    with lock:
                        url = next(waiting, None)
                    if url is None:
                        return
                    client.get(url)

            began = time.perf_counter()
            list(pool.map(take, clients))
            taken.append(1000 * (time.perf_counter() - began))
    return taken, [error for client in clients for error in client.errors]


class People:
    """Twenty people who use the page, as a context manager.

    Attributes:
        times: ms of each page.
        errors: What went wrong.
        cores: How many cores the server kept busy.
    """

    def __init__(self, port: int, server: psutil.Process) -> None:
        self.cores = 0.0
        self._server = server
        self.times: list[float] = []
        self.errors: list[str] = []
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._use, args=[number], daemon=True) for number in range(PEOPLE)]

    def __enter__(self) -> People:
        self._began, self._busy_s = time.monotonic(), sum(self._server.cpu_times()[:2])
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(max(0.0, LEAST_S - (time.monotonic() - self._began)))
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.cores = (sum(self._server.cpu_times()[:2]) - self._busy_s) / (time.monotonic() - self._began)

    def _use(self, number: int) -> None:
        client, filler, pick = Client(self._port), Filler(), random.Random(number)
        while not self._over.wait(pick.uniform(0, 2 * LOOK_S)):
            taken, page = client.get(f"/?{pick.choice(query_strings(filler))}")
            self.times.append(taken)
            for url in posters(page, FIRST):
                client.get(url)
        self.errors += client.errors


def vidpipe(settings: Settings, *arguments: str | Path) -> tuple[float, str]:
    """(seconds, what it prints)."""
    command = [str(Path(sys.executable).with_name("vidpipe")), "--home", str(settings.home), *map(str, arguments)]
    began = time.monotonic()
    done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"vidpipe {arguments[0]} failed:\n{done.stdout[-2000:]}")
    return time.monotonic() - began, done.stdout


def runs(
    settings: Settings, clips: Sequence[Path], port: int, server: psutil.Process, times: int
) -> tuple[float, float, People]:
    """(seconds of a run alone, with people, the people of the last time)."""
    vidpipe(settings, "add", *clips)
    vidpipe(settings, "run", "--json", *clips)
    alone, used = [], []
    for _ in range(times):
        alone.append(vidpipe(settings, "run", "--json", "--force", *clips)[0])
        with People(port, server) as people:
            used.append(vidpipe(settings, "run", "--json", "--force", *clips)[0])
        print(f"a run alone {alone[-1]:.1f} s, with {PEOPLE} people {used[-1]:.1f} s", flush=True)
    return min(alone), min(used), people


def main(videos: int, rounds: int, clips: int, times: int) -> int:
    settings, made = empty_home(OUT / "home"), mixed_clips(clips)
    in_process("fill", settings, videos)
    built = in_process("build", settings, videos)
    print(f"{videos} videos; index built in {built['seconds']:.0f} s", flush=True)
    kinds, errors = {}, []
    try:
        with serving(settings) as (port, pid):
            client, server = Client(port), psutil.Process(pid)
            for path in ("/", "/api/v1/videos"):
                kinds[path] = pages(client, server, path, rounds)
            taken, failed = thumbnails(port)
            taken = taken or [math.inf]
            print(f"{f'{THUMBNAILS} thumbnails, ms':40}{shown(taken)}", flush=True)
            alone_s, used_s, people = runs(settings, made, port, server, times)
            print(f"{f'{len(people.times)} pages of people during a run, ms':40}{shown(people.times)}")
            print(f"cores that the server kept busy meanwhile: {people.cores:.2f}")
            print(f"peak memory of the server: {peak_mib(pid):.0f} MiB")
            errors = [*client.errors, *failed, *people.errors]
    finally:
        embedded.stop(settings)
    every = {path: quantile([*chain(*found.values())], 0.95) for path, found in kinds.items()}
    limits = {
        **{f"GET {path}, p95 {ms:.0f} ms": ms <= PAGE_MS for path, ms in every.items()},
        f"{THUMBNAILS} thumbnails {quantile(taken, 0.95):.0f} ms": quantile(taken, 0.95) <= THUMBNAILS_MS,
        f"errors {len(errors)}: {', '.join(dict.fromkeys(errors[:3])) or 'none'}": not errors,
        f"a run with {PEOPLE} people {used_s:.1f} s, alone {alone_s:.1f} s: {used_s / alone_s:.2f} times": (
            used_s <= RUN_RATIO * alone_s
        ),
    }
    return report(limits)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=VIDEOS)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args()
    sys.exit(main(given.videos, given.rounds, given.clips, given.times))
