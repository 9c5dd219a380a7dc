"""`make demo-cluster`: two workers share the videos of the demo, as machines of a cluster do; all on this machine.

Redis, PostgreSQL, a MongoDB replica set and three homes live in a temporary folder, which is deleted at the end: the
control plane (`vidpipe up`, which reads a watched list) and two workers (`vidpipe worker`). Media is in GridFS.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import machine
import psutil
from demo import BROKEN, VIDPIPE, serve, vidpipe
from make_samples import make_samples
from pymongo import MongoClient

from vidpipe_tests.cluster.servers import end, shared_servers

#: Small, so that both workers get some.
BATCHES = {f"VIDPIPE_SENSORS_{step}BATCH": "3" for step in ("INGEST", "PREPARE", "DESCRIBE", "LABEL")}
WORKERS = ("worker-1", "worker-2")
LIMIT_S = 280.0


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that PostgreSQL's user, who is not root, can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="vidpipe-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def worker(home: Path) -> Iterator[psutil.Process]:
    """Run `vidpipe worker` while the block runs, and print its lines after its name."""
    print(f"$ VIDPIPE_HOME=…/{home.name} vidpipe worker --queues cpu,gpu", flush=True)
    process = subprocess.Popen(
        [VIDPIPE, "worker", "--queues", "cpu,gpu"], env={**os.environ, "VIDPIPE_HOME": str(home)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip

    def show() -> None:
        for line in process.stdout or ():
            print(f"{home.name}: {line.rstrip()}", flush=True)

    shown = threading.Thread(target=show, daemon=True)
    shown.start()
    try:
        yield psutil.Process(process.pid)
    finally:
        end(process, 60)
        shown.join(5)


def ignore_signals() -> None:
    """Let nothing interrupt what stops everything."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def control_plane(home: Path) -> Iterator[None]:
    """Run the servers of `home` while the block runs."""
    try:
        if vidpipe("up", home=home):
            raise machine.Missing("The control plane did not start; see above.")
        yield
    finally:
        vidpipe("down", home=home)


def wait_until_labelled(library: Any, wanted: int) -> bool:
    """Wait for the last stage of `wanted` videos and the end of all runs; print how many are finished on each change.

    Returns:
        Whether all are finished.
    """
    deadline, shown, running = time.monotonic() + LIMIT_S, -1, 1
    while (shown < wanted or running) and time.monotonic() < deadline:
        time.sleep(1)
        done = library["videos"].count_documents({"stages.categories.status": "ok"})
        running = library["videos_runs"].count_documents({"status": "running"})
        if done != shown:
            print(f"{done} of {wanted} videos are finished", flush=True)
            shown = done
    return shown >= wanted


def show_shares(library: Any, names: dict[int, str]) -> int:
    """Print which worker executed which runs and which videos they were. Returns how many workers executed some.

    Args:
        library: The database.
        names: Process that executes runs -> its worker.
    """
    videos = {row["_id"]: row["ingest"]["names"][0] for row in library["videos"].find({}, {"ingest.names": 1})}
    runs: dict[str, list[str]] = defaultdict(list)
    for run in library["videos_runs"].find({"owner": {"$exists": True}}).sort("began_at"):
        who = names.get(int(run["owner"].split("|")[1]), "another process")
        done = library["videos_lineage"].distinct("video", {"run": run["_id"], "kind": "commit"})
        if done:
            shown = ", ".join(sorted(videos.get(sha256, sha256[:8]) for sha256 in done))
            runs[who].append(f"  {run['_id'][:8]} {run['job']:14} {shown}")
    for who, lines in sorted(runs.items()):
        print(f"\n{who}: {len(lines)} run{'s' if len(lines) != 1 else ''}", *lines, sep="\n")
    return len(runs.keys() & set(names.values()))


def main() -> int:
    began = time.monotonic()
    if missing := machine.ensure_cluster():
        print(f"Install {' and '.join(missing)} (Debian's names of the packages), then run this again.")
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.ExitStack() as running:
            return demonstrate(running, began)
    except machine.Missing as error:
        print(error)
    except KeyboardInterrupt:
        print("Interrupted; everything is stopped and deleted.")
    return 1


def demonstrate(running: contextlib.ExitStack, began: float) -> int:
    """Start everything, to be stopped with `running`, and show who did what."""
    names = sorted(path.name for path in make_samples())
    server = serve({path.name: path for path in make_samples()})
    running.callback(server.shutdown)
    folder = running.enter_context(temporary_folder())
    print("Redis, PostgreSQL and a MongoDB replica set …", flush=True)
    redis, postgres, mongo = running.enter_context(shared_servers(folder))
    os.environ |= {
        **BATCHES, "VIDPIPE_MONGODB_URI": mongo.url, "VIDPIPE_STORAGE_MEDIA": "gridfs",
        "VIDPIPE_CLUSTER_LAUNCHER": "celery", "VIDPIPE_CLUSTER_POSTGRES": postgres.url,
        "VIDPIPE_CLUSTER_BROKER": redis.url, "VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE": "127.0.0.1",
    }  # fmt: skip
    homes = {name: folder / name for name in ("control", *WORKERS)}
    for name, home in homes.items():
        subprocess.run([VIDPIPE, "init", str(home)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print(f"$ vidpipe init …/{name}", flush=True)
    client = running.enter_context(MongoClient[dict[str, Any]](mongo.url))
    running.enter_context(control_plane(homes["control"]))
    workers = {name: running.enter_context(worker(homes[name])) for name in WORKERS}
    running.callback(ignore_signals)
    with (homes["control"] / "data" / "urls.txt").open("a") as watched:
        watched.writelines(f"http://127.0.0.1:{server.server_port}/{quote(name)}\n" for name in names)
    print(f"\n{len(names)} URLs are in the watched list; {BROKEN} is broken on purpose.", flush=True)
    library = client["vidpipe"]
    finished = wait_until_labelled(library, len(names) - 1)
    executing = {child.pid: name for name, process in workers.items() for child in process.children()}
    shared = show_shares(library, executing)
    vidpipe("status", home=homes["control"])
    print(f"\n{shared} workers shared the videos, in {time.monotonic() - began:.0f} s. Now everything is stopped.")
    return 0 if finished and shared == len(WORKERS) else 1


if __name__ == "__main__":
    sys.exit(main())
