"""/metrics: what Prometheus reads there is what the library holds, and it answers whatever is away."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics

from vidpipe import __version__
from vidpipe.library import embedded
from vidpipe.library.library import Library
from vidpipe.library.runs import RunStep, record_run
from vidpipe.library.schema import SCHEMA_VERSION
from vidpipe.operations.metrics import snapshot
from vidpipe.operations.metrics.snapshot import HomeMetrics, QueueFigures
from vidpipe.pipeline.instance import instance
from vidpipe.settings import Settings, init_home
from vidpipe.stages.events import StageEvent
from vidpipe_tests.default_graph import GRAPH as ALL
from vidpipe_tests.library.sample_library import GRAPH, HOSTILE, put
from vidpipe_tests.operations.metrics.conftest import Page, page_of


def eventually(look: Callable[[], Any], limit_s: float = 20) -> Any:
    deadline = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
    return found


def work(library: Library, run: str) -> None:
    with record_run(library.collections["runs"], RunStep(run, "process", "sensor", "op")) as figures:
        figures.count(StageEvent("a" * 64, "tags", "computed", seconds=1.5, changed=True))
        figures.count(StageEvent("b" * 64, "tags", "current"))
        figures.count(StageEvent("c" * 64, "tags", "failed", seconds=0.5))
        figures.count_source("stored", 4000)


def test_the_page_tells_how_far_the_library_is(page: Page, library: Library) -> None:
    put(library, "new.mp4")
    found = page.figures()
    assert found["vidpipe_mongodb_up",] == found["vidpipe_dagster_up",] == found["vidpipe_settings_ok",] == 1
    assert found["vidpipe_videos",] == 5
    assert found["vidpipe_stage_videos", "metadata", "current"] == 3
    assert found["vidpipe_stage_videos", "metadata", "failed"] == 1
    assert found["vidpipe_stage_videos", "metadata", "due"] == 1
    assert found["vidpipe_stage_videos", "tags", "blocked"] == 2
    assert found["vidpipe_due_videos", "label"] == 1
    assert found["vidpipe_sources", "stored"] == 5
    assert found["vidpipe_media_bytes",] == 5000
    assert found["vidpipe_footage_seconds",] == 650.5
    assert found["vidpipe_build_info", platform.python_version(), str(SCHEMA_VERSION), __version__] == 1
    assert found["vidpipe_disk_free_bytes", "data"] > 0


def test_counters_come_from_runs_and_never_fall(page: Page, library: Library) -> None:
    assert page.figures()["vidpipe_stage_results_total", "computed", "tags"] == 0
    work(library, "one")
    work(library, "two")
    before = page.figures()
    assert before["vidpipe_stage_results_total", "computed", "tags"] == 2
    assert before["vidpipe_stage_results_total", "current", "tags"] == 2
    assert before["vidpipe_stage_results_total", "failed", "tags"] == 2
    assert before["vidpipe_stage_seconds_total", "tags"] == 4.0
    assert before["vidpipe_stage_changed_total", "tags"] == 2
    assert before["vidpipe_taken_in_bytes_total",] == 8000
    assert before["vidpipe_run_steps_total", "process", "success"] == 2
    library.collections["runs"].delete_many({"began_at": {"$lt": datetime.now(UTC)}})
    after = page.figures()
    assert {key: value for key, value in before.items() if key[0].endswith("_total")} == {
        key: value for key, value in after.items() if key[0].endswith("_total")
    }


def test_dagsters_queue_is_counted(page: Page, settings: Settings) -> None:
    import dagster as dg

    with instance(settings) as opened:
        for number, status in enumerate(("NOT_STARTED", "NOT_STARTED", "STARTED", "SUCCESS")):
            opened.add_run(
                dg.DagsterRun(job_name="label_list", run_id=f"{number:032x}", status=dg.DagsterRunStatus[status])
            )
    found = page.figures()
    assert found["vidpipe_dagster_runs", "label_list", "not_started"] == 2
    assert found["vidpipe_dagster_runs", "label_list", "started"] == 1
    assert ("vidpipe_dagster_runs", "label_list", "success") not in found
    assert found["vidpipe_dagster_queue_runs",] == 2
    assert 0 <= found["vidpipe_dagster_queue_oldest_seconds",] < 60


def test_names_of_strangers_are_on_no_label(page: Page) -> None:
    _, _, text = page.get()
    assert "evil" in HOSTILE
    assert "evil" not in text
    assert "videos.example" not in text


def test_every_figure_is_explained(page: Page, library: Library) -> None:
    work(library, "one")
    explained = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    assert {name for name, *_ in page.figures() if f"`{name}`" not in explained} == set()


def test_the_format_is_the_one_that_is_asked_for(page: Page) -> None:
    status, headers, text = page.get(Accept="application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert {family.name for family in open_metrics(text)} >= {"vidpipe_stage_results", "vidpipe_videos"}
    assert page.get()[1]["Content-Type"].startswith("text/plain; version=0.0.4")


def test_the_other_pages(page: Page) -> None:
    status, headers, text = page.get("/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert 'href="/metrics"' in text
    status, headers, text = page.get("/metrics?x=1", "HEAD")
    assert (status, text) == (200, "")
    assert int(headers["Content-Length"]) > 1000
    for path in ("/metrics/", "/../etc/passwd", "/favicon.ico"):
        assert page.get(path)[0] == 404
    assert page.get("/metrics", "POST")[0] == 405
    assert page.get("/metrics", Host="evil.test")[0] == 421


def test_rules_that_do_not_parse_are_seen_and_the_rest_is_told(home: Path, settings: Settings) -> None:
    (home / "rules").mkdir()
    (home / "rules" / "custom_tags.json").write_text("{ this is no JSON")
    with Library.open(settings, ALL):
        pass
    figures = HomeMetrics(lambda: settings, ALL, QueueFigures)
    library = figures.snapshot().library
    figures.close()
    assert library is not None
    assert "tags" in library.unavailable
    assert "tags" not in library.stages
    assert "metadata" in library.stages


def test_a_server_that_dies_hangs_or_comes_back_is_told(embedded_settings: Settings) -> None:
    with Library.open(embedded_settings, GRAPH) as library:
        put(library, "new.mp4")
    with page_of(embedded_settings) as page:
        assert page.figures()["vidpipe_videos",] == 1
        pid = embedded.status(embedded_settings).pid
        assert pid is not None

        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            found = page.figures()
            assert time.monotonic() - began < 10, "Prometheus waits no longer"
        finally:
            os.kill(pid, signal.SIGCONT)
        assert found["vidpipe_mongodb_up",] == 0
        assert ("vidpipe_videos",) not in found, "an old figure is not taken for today's"
        assert found["vidpipe_dagster_up",] == 1
        assert eventually(lambda: page.figures().get(("vidpipe_videos",))) == 1

        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
        assert eventually(lambda: page.figures()["vidpipe_mongodb_up",] == 0)
        assert not embedded.status(embedded_settings).running, "who only looks starts nothing"

        embedded.start(embedded_settings)
        assert eventually(lambda: page.figures().get(("vidpipe_videos",))) == 1


def _process(home: Path, port: int, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vidpipe.pipeline.metrics_server", "--home", str(home), "--port", str(port)],
        env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_page_is_a_process_of_its_own(home: Path, mongod_uri: str) -> None:
    init_home(home)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    env = {"VIDPIPE_MONGODB_URI": mongod_uri, "VIDPIPE_MONGODB_DATABASENAME": "nothing_in_it"}
    first = _process(home, port, env)

    def answer() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=15) as found:
                return str(found.read().decode())
        except OSError:
            assert first.poll() is None, first.communicate()[1]
            return ""

    try:
        text = eventually(answer, 30)
        assert "vidpipe_mongodb_up 1.0" in text
        assert "vidpipe_videos 0.0" in text
        second = _process(home, port, env)
        _, said = second.communicate(timeout=30)
        assert second.returncode == 3
        assert f"cannot listen on 127.0.0.1, port {port}" in said
        assert "MetricsPort" in said
        first.terminate()
        out, said = first.communicate(timeout=15)
        assert (first.returncode, out, said) == (-signal.SIGTERM, "", "")
    finally:
        first.kill()


def test_scrapes_at_the_same_time_share_one_reading(
    settings: Settings, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[float] = []
    real = snapshot.read_library

    def counting(*args: Any) -> Any:
        reads.append(time.monotonic())
        time.sleep(0.2)
        return real(*args)

    monkeypatch.setattr(snapshot, "read_library", counting)
    answers: list[int] = []
    with page_of(settings, min_age_s=600.0) as page:
        threads = [threading.Thread(target=lambda: answers.append(page.get()[0])) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [200] * 30
    assert len(reads) == 1, json.dumps(reads)
