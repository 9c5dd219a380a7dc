"""A process that dies costs nothing but time; a video that makes it die is found and put aside."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from vidpipe.library import embedded
from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe_tests.runner.small_graph import GRAPH, calls
from vidpipe_tests.runner.test_runner import add, library, run, states

__all__ = ["library"]  # the fixture


def start(settings: Settings) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "SMALL_RUN_URI": settings.mongodb.uri.get_secret_value()}
    command = [
        sys.executable,
        "-m",
        "vidpipe_tests.runner.small_run",
        str(settings.home),
        settings.mongodb.database_name,
    ]
    return subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)


def documents(library: Library) -> list[dict[str, object]]:
    """The library without what differs from run to run: times, run ids, numbers of changes."""
    found = []
    for document in library.collections["videos"].find().sort("_id", 1):
        del document["added_at"], document["change_seq"]
        for entry in document["stages"].values():
            for name in ("at", "run", "run_began", "seconds", "commit"):
                entry.pop(name, None)
        found.append(document)
    return found


def test_kill_9_at_random_moments_leaves_the_library_of_an_undisturbed_run(library: Library) -> None:
    ids = add(library, *(f"video-{number:03d}" for number in range(120)))
    for sha256 in ids:
        (library.settings.home / f"slow-{sha256}").touch()
    moments = random.Random(7)
    killed = 0
    for _ in range(12):
        process = start(library.settings)
        time.sleep(moments.uniform(0.3, 1.2))
        if process.poll() is None:
            killed += 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert killed >= 3, "the processes ended before they could be killed"
    assert run(library).ok
    disturbed = documents(library)
    assert states(library) == {stage: {"current": 120} for stage in GRAPH.names}
    assert library.collections["videos"].count_documents({"lease": {"$exists": True}}) == 0
    assert not list((library.settings.data_directory / "run").glob("*.journal"))
    for name, rows in {"scenes": 3 * 120, "lineage": 3 * 120}.items():
        assert library.collections[name].count_documents({}) == rows, f"{name} were lost, doubled or left behind"
    for name in ("videos", "scenes", "answers", "lineage"):
        library.collections[name].delete_many({})
    add(library, *(f"video-{number:03d}" for number in range(120)))
    assert run(library).ok
    assert documents(library) == disturbed


def test_a_video_that_kills_the_process_is_tried_alone_and_quarantined(library: Library) -> None:
    add(library, "good", "evil", "fine", "best")
    (library.settings.home / "crash-evil").touch()
    for _ in range(2):
        process = start(library.settings)
        assert process.wait() == -signal.SIGKILL
    process = start(library.settings)
    assert process.wait() == 1, "the third run tries the suspect alone, survives it and reports it"
    assert states(library)["length"] == {"current": 3, "quarantined": 1}
    assert states(library)["report"] == {"current": 3, "blocked": 1}
    entry = library.collections["videos"].find_one({"ingest.names": "evil"})["stages"]["length"]  # type: ignore[index]
    assert "signal SIGKILL" in entry["error"]["message"]
    assert run(library).videos == 0, "a quarantined video is not due"
    (library.settings.home / "crash-evil").unlink()
    assert run(library, retry=True).ok
    assert states(library)["report"] == {"current": 4}


def test_a_quarantined_video_is_tried_alone_again_when_somebody_asks_for_it(library: Library) -> None:
    (sha256,) = add(library, "evil")
    (library.settings.home / "crash-evil").touch()
    quarantined = {"stages.length.status": "quarantined", "stages.length.crashes": 2}
    spec = Plan.make(GRAPH, library.settings).specs["length"]
    library.collections["videos"].update_one({}, {"$set": {**quarantined, "stages.length.spec": spec}})
    assert run(library).videos == 0
    report = run(library, retry=True)
    assert [event.sha256 for event in report.failures] == [sha256]
    assert len(calls(library.settings, "length")) == 1
    (library.settings.home / "crash-evil").unlink()
    library.collections["videos"].update_one({}, {"$set": {"stages.length.crashes": 2}})
    assert run(library, retry=True).total("computed") == 3


class HeldModel:
    """What one process at a time can hold. children: how many processes this one had when it let go"""

    def __init__(self) -> None:
        self.children: list[int] = []

    def texts(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        self.children.append(len(multiprocessing.active_children()))


def test_the_model_is_let_go_before_a_trial_whose_process_would_wait_for_it_for_ever(library: Library) -> None:
    add(library, "good", "suspect")
    library.collections["videos"].update_one({"ingest.names": "suspect"}, {"$set": {"stages.length.crashes": 2}})
    model = HeldModel()
    plan = replace(Plan.make(GRAPH, library.settings), resources={"model": model})
    assert Runner(library, plan).run().ok
    assert model.children == [0]
    assert states(library)["report"] == {"current": 2}


def test_a_trial_that_is_interrupted_says_nothing_against_the_video(library: Library) -> None:
    add(library, "long")
    (library.settings.home / "long-long").touch()
    library.collections["videos"].update_one({}, {"$set": {"stages.length.crashes": 2}})
    cancelled = threading.Event()

    def stop() -> None:
        while not calls(library.settings, "length"):
            time.sleep(0.05)
        (child,) = multiprocessing.active_children()
        os.kill(child.pid or 0, signal.SIGINT)  # as Ctrl-C in a terminal does
        cancelled.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    report = Runner(library, Plan.make(GRAPH, library.settings), cancelled=cancelled).run()
    stopper.join()
    assert report.interrupted
    assert states(library)["length"] == {"due": 1}
    assert library.collections["videos"].count_documents({"lease": {"$exists": True}}) == 0


def test_a_run_survives_the_death_of_its_embedded_server(home: Path) -> None:
    settings = Settings(home=home)
    try:
        with Library.open(settings, GRAPH) as library:
            add(library, *(f"video-{number}" for number in range(200)))
            killed = False

            class Killer:
                def on_event(self, event: object) -> None:
                    nonlocal killed
                    if not killed and len(calls(settings, "parts")) > 20:
                        killed = True
                        server = embedded.status(settings)
                        assert server is not None
                        os.kill(server.pid, signal.SIGKILL)

                def on_progress(self, sha256: str, stage: str, fraction: float) -> None: ...

            report = Runner(library, Plan.make(GRAPH, settings), Killer()).run()
            assert killed
            assert report.ok
            assert states(library) == {stage: {"current": 200} for stage in GRAPH.names}
            assert library.collections["lineage"].count_documents({"kind": "commit"}) == 600
    finally:
        embedded.stop(settings)
