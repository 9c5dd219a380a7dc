"""The metrics in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/), and their app.

Names end in their unit; what only grows is a counter and ends in _total. Labels have few values: stages, states, jobs,
model servers; never a video, the URL of one or an error.

The app is Starlette's, not prometheus_client's: that one answers on every path, rejects HEAD, and its ASGI variant
blocks all clients while metrics are read. Formats and content negotiation are prometheus_client's.
"""

import platform
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from vidpipe import __version__
from vidpipe.library.runs import model_figures, server_use
from vidpipe.library.schema import SCHEMA_VERSION
from vidpipe.operations.metrics.snapshot import HomeMetrics, LibraryFigures, MetricsSnapshot, QueueFigures

_RESULTS = ("computed", "current", "failed", "failed_before", "blocked", "busy", "discarded", "waiting")
_SOURCE_RESULTS = ("stored", "known", "failed", "refused", "gone")
_INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>vidpipe</title>
<h1>vidpipe: metrics</h1>
<p><a href="/metrics">/metrics</a>: metrics of the library and its runs, for Prometheus.</p>
</html>
"""
_NO_STORE = {"Cache-Control": "no-store"}


def metrics_app(home: HomeMetrics) -> Starlette:
    """Return the ASGI app. Its endpoints run in threads, so that one that waits for MongoDB does not block others."""

    def metrics(request: Request) -> Response:
        body, content_type = exposition(home.snapshot(), request.headers.get("Accept", ""))
        return Response(body, headers={"Content-Type": content_type, **_NO_STORE})

    def index(request: Request) -> Response:
        return HTMLResponse(_INDEX, headers=_NO_STORE)

    def not_found(request: Request) -> Response:
        return PlainTextResponse("Not found. Try / or /metrics.\n", 404, _NO_STORE)

    return Starlette(routes=[Route("/metrics", metrics), Route("/", index), Route("/{path:path}", not_found)])


def exposition(snapshot: MetricsSnapshot, accept: str = "") -> tuple[bytes, str]:
    """Format the metrics.

    Args:
        snapshot: The metrics.
        accept: The request's header Accept, which selects the format.

    Returns:
        The body and its content type.
    """
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(snapshot))
    return encode(registry), content_type


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: MetricsSnapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield every metric. What cannot be read is left out, so that no old figure is taken for today's."""
        snapshot = self._snapshot
        build = {"version": __version__, "python": platform.python_version(), "schema": str(SCHEMA_VERSION)}
        yield InfoMetricFamily("vidpipe_build", "Versions of vidpipe, Python and the database schema.", build)
        yield _gauge("vidpipe_mongodb_up", "Whether MongoDB responds.", snapshot.mongodb_up)
        yield _gauge("vidpipe_dagster_up", "Whether Dagster's storage can be read.", snapshot.dagster_up)
        yield _gauge("vidpipe_settings_ok", "Whether config.ini can be read.", snapshot.settings_ok)
        yield _gauge("vidpipe_disk_free_bytes", "Free space on the disk of a folder.", snapshot.free_bytes, "folder")
        yield _gauge("vidpipe_figures_age_seconds", "Age of the metrics in seconds.", snapshot.ages_s, "part")
        yield _gauge("vidpipe_figures_cost_seconds", "Collection time in seconds.", snapshot.costs_s, "part")
        if snapshot.library is not None:
            yield from _library(snapshot.library)
            yield from _totals(snapshot.library.totals, snapshot.library.stages)
        if snapshot.queue is not None:
            yield from _queue(snapshot.queue)


def _library(library: LibraryFigures) -> Iterator[Metric]:
    yield _gauge("vidpipe_videos", "Videos in the library.", library.videos)
    yield _gauge("vidpipe_stage_videos", "Videos by stage and state.", _flat(library.stages), "stage", "state")
    can_run = {**dict.fromkeys(library.stages, 1), **dict.fromkeys(library.unavailable, 0)}
    help_text = "Whether a stage can run: its rules parse and its model is available."
    yield _gauge("vidpipe_stage_available", help_text, can_run, "stage")
    yield _gauge("vidpipe_due_videos", "Videos with something due in a step.", library.due, "step")
    yield _gauge("vidpipe_sources", "Sources by state.", library.sources, "state")
    yield _gauge("vidpipe_leased_videos", "Videos that runs are working on.", library.leased)
    yield _gauge("vidpipe_workers", "Processes that take runs from a Celery queue.", library.workers)
    yield _gauge("vidpipe_media_bytes", "Size of all videos' files in bytes.", library.media_bytes)
    yield _gauge("vidpipe_footage_seconds", "Duration of all videos in seconds.", library.footage_s)
    yield _gauge("vidpipe_frame_pack_bytes", "Size of all frame packs in bytes.", library.frame_pack_bytes)


def _totals(totals: Mapping[str, Any], stages: Iterable[str]) -> Iterator[Metric]:
    done: Mapping[str, Mapping[str, float]] = totals.get("stages") or {}
    figures = {stage: done.get(stage, {}) for stage in (*stages, *done)}
    results = {(stage, result): found.get(result, 0) for stage, found in figures.items() for result in _RESULTS}
    help_text = "Results of runs, one per video; current means that nothing had to be computed."
    yield _counter("vidpipe_stage_results", help_text, results, "stage", "result")
    seconds = {stage: found.get("seconds", 0.0) for stage, found in figures.items()}
    yield _counter("vidpipe_stage_seconds", "Time spent in a stage, in all threads.", seconds, "stage")
    changed = {stage: found.get("changed", 0) for stage, found in figures.items()}
    yield _counter("vidpipe_stage_changed", "Results that differ from the previous ones.", changed, "stage")
    use = model_figures(done)
    tokens = {"prompt": use.prompt_tokens, "output": use.output_tokens}
    yield _counter("vidpipe_model_tokens", "Tokens read and written by the describing model.", tokens, "kind")
    answers = {"asked": use.asked, "reused": use.reused}
    yield _counter("vidpipe_model_answers", "Answers of the model: asked or reused.", answers, "result")
    yield _counter("vidpipe_model_seconds", "Time in the stages that ask the model.", use.model_seconds)
    for figure in ("busy_seconds", "request_seconds", "requests", "failures"):
        by_server = {address: found.get(figure, 0) for address, found in server_use(totals).items()}
        yield _counter(f"vidpipe_model_server_{figure}", "Use of a model server by runs.", by_server, "server")
    taken = {result: (totals.get("sources") or {}).get(result, 0) for result in _SOURCE_RESULTS}
    yield _counter("vidpipe_sources_taken", "Results of sources in runs.", taken, "result")
    yield _counter("vidpipe_taken_in_bytes", "Bytes of added files.", totals.get("bytes_in", 0))
    steps = _flat(totals.get("steps") or {})
    yield _counter("vidpipe_run_steps", "Steps of finished runs by job and status.", steps, "job", "status")


def _queue(queue: QueueFigures) -> Iterator[Metric]:
    help_text = "Unfinished runs by job and Dagster's status."
    yield _gauge("vidpipe_dagster_runs", help_text, queue.unfinished, "job", "status")
    yield _gauge("vidpipe_dagster_queue_runs", "Runs that have not begun.", queue.queued.total())
    yield _gauge("vidpipe_dagster_queue_oldest_seconds", "Age of the oldest of them in seconds.", queue.oldest_s)
    help_text = "Time of a sensor's last tick, in seconds since 1970."
    yield _gauge("vidpipe_sensor_last_tick_timestamp_seconds", help_text, queue.ticks, "sensor")
    help_text = "Time of a Dagster daemon's last heartbeat, in seconds since 1970."
    yield _gauge("vidpipe_dagster_daemon_heartbeat_timestamp_seconds", help_text, queue.heartbeats, "daemon")
    slots = {name: {"taken": pool.taken, "free": max(0, pool.slots - pool.taken)} for name, pool in queue.pools.items()}
    yield _gauge("vidpipe_pool_slots", "Slots of a pool.", _flat(slots), "pool", "state")
    waiting = {name: pool.waiting for name, pool in queue.pools.items()}
    yield _gauge("vidpipe_pool_waiting_steps", "Steps that wait for a slot of a pool.", waiting, "pool")


def _flat(nested: Mapping[str, Mapping[Any, float]]) -> dict[tuple[str, str], float]:
    return {(outer, inner): number for outer, found in nested.items() for inner, number in found.items()}


def _metric(
    kind: type[GaugeMetricFamily | CounterMetricFamily],
    name: str,
    help_text: str,
    values: float | Mapping[Any, float],
    *labels: str,
) -> Metric:
    """A metric with one sample, or with a sample for each value of its label or tuple of values of its labels."""
    family = kind(name, help_text, labels=labels)
    for key, value in sorted(values.items()) if isinstance(values, Mapping) else (((), values),):
        family.add_metric([key] if isinstance(key, str) else key, value)
    return family


_gauge, _counter = partial(_metric, GaugeMetricFamily), partial(_metric, CounterMetricFamily)
