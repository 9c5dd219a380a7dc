"""Downloading: `python -m benchmarks.downloads [FILES]`.

The job `ingest` adds FILES (200) videos of 5 MB from a server on this machine, as `vidpipe add` does, with the default
settings. Peer, in the same run: `curl --parallel` of the same URLs into empty files, then sha256sum of all, in two
processes; it neither waits for the disk nor looks for a picture. The two are measured alternately, three times;
compared is the median of the ratios of wall times. Limit: 1.0 times.

The server is Python's with sendfile in a process of its own: it delivers several times as fast as the peer stores.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.homes import empty_home
from vidpipe.library import embedded
from vidpipe.library.library import Library
from vidpipe.pipeline.ingest import run_ingest
from vidpipe_tests.default_graph import GRAPH

OUT = Path(__file__).parent / "out" / "downloads"
LIMIT = 1.0
PAIRS = 3


class Server(ThreadingHTTPServer):
    request_queue_size = 128


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def copyfile(self, source: Any, outputfile: Any) -> None:
        outputfile.flush()
        self.connection.sendfile(source)

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(listening: socket.socket, folder: Path) -> None:
    server = Server(listening.getsockname(), partial(Handler, directory=str(folder)), bind_and_activate=False)
    server.socket = listening
    server.serve_forever()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Yields the address of a server for the files of `folder`."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        process = get_context("fork").Process(target=serve, args=(listening, folder), daemon=True)
        process.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.kill()
            process.join()


def make_videos(count: int) -> list[Path]:
    """Videos of 8 seconds at 5 Mbit/s, which differ in a box at the end."""
    folder = OUT / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    clip = OUT / "clip.mp4"
    rate = ["-b:v", "4.95M", "-minrate", "4.95M", "-maxrate", "4.95M", "-bufsize", "1M", "-x264-params", "nal-hrd=cbr"]
    source = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=8"]
    codec = ["-c:v", "libx264", "-preset", "ultrafast", *rate, "-movflags", "+faststart"]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *source, *codec, str(clip)], check=True, timeout=60)
    paths = [folder / f"{number:05d}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(clip.read_bytes() + struct.pack(">I4sQ", 16, b"free", number))
    return paths


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """(seconds, CPU seconds of this process and its children)."""
    subprocess.run(["sync"], check=True, timeout=300)  # what the one has left to write must not delay the other
    began, cpu = time.monotonic(), sum(os.times()[:4])
    work()
    return time.monotonic() - began, sum(os.times()[:4]) - cpu


def curl_and_sha256sum(urls: list[str]) -> None:
    folder = OUT / "curl"
    folder.mkdir()
    targets = [folder / url.rsplit("/", 1)[1] for url in urls]
    config = "\n".join(f'url="{url}"\noutput="{target}"' for url, target in zip(urls, targets, strict=True))
    curl = ["curl", "-sSf", "--no-progress-meter", "--parallel", "--config", "-"]
    subprocess.run(curl, input=config.encode(), check=True, timeout=600)
    names = "\0".join(map(str, targets)).encode()
    hashing = ["xargs", "-0", "-P2", "-n10", "sha256sum"]
    done = subprocess.run(hashing, input=names, check=True, capture_output=True, timeout=600)
    if len(done.stdout.splitlines()) != len(urls):
        raise SystemExit("sha256sum did not hash every file")


def ingest(address: str, names: list[str]) -> tuple[float, float]:
    settings = empty_home(OUT / "home")
    download = settings.download.model_copy(update={"allowed_private": (address,)})
    settings = settings.model_copy(update={"download": download})
    first, *urls = [f"http://{address}/{name}" for name in names]
    with Library.open(settings, GRAPH) as library:
        run_ingest(settings, [first], library=library)  # imports and Dagster's tables
        outcomes: list[Any] = []
        times = measured(lambda: outcomes.extend(run_ingest(settings, urls, library=library)))
    embedded.stop(settings)
    if wrong := [outcome.sentence for outcome in outcomes if outcome.state != "stored"]:
        raise SystemExit(f"not everything was added: {wrong[:3]}")
    return times


def main(count: int) -> int:
    names = [path.name for path in make_videos(count + 1)]
    pairs = []
    with serving(OUT / "videos") as address:
        urls = [f"http://{address}/{name}" for name in names[1:]]
        for _ in range(PAIRS):
            peer = measured(lambda: curl_and_sha256sum(urls))
            shutil.rmtree(OUT / "curl")
            own = ingest(address, names)
            pairs.append((own, peer))
            print(
                f"ingest {own[0]:.1f} s ({own[1]:.1f} s of CPU time), curl and sha256sum {peer[0]:.1f} s "
                f"({peer[1]:.1f} s): {own[0] / peer[0]:.2f} times", flush=True,
            )  # fmt: skip
    ratio = statistics.median(own[0] / peer[0] for own, peer in pairs)
    print(f"{count} downloads of 5 MB: {ratio:.2f} times curl and sha256sum (limit {LIMIT:g})")
    print("reached" if ratio <= LIMIT else "NOT reached")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
