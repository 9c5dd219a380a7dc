"""The figures in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/).

Names end in their unit; what only grows is a counter and ends in _total. Labels take few values: stages, states, jobs,
never a video, a URL or an error.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from vidpipe import __version__
from vidpipe.library.runs import ModelUse, model_figures
from vidpipe.library.schema import SCHEMA_VERSION
from vidpipe.measures.library_figures import LibraryFigures
from vidpipe.measures.readings import Readings

if TYPE_CHECKING:
    from vidpipe.pipeline.run_queue import QueueFigures

_RESULTS = ("computed", "current", "failed", "failed_before", "blocked", "busy", "discarded")
_SOURCE_RESULTS = ("stored", "known", "failed", "refused")


def exposition(readings: Readings, accept: str = "") -> tuple[bytes, str]:
    """(the page, its content type), in the format that the request's header Accept asks for."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(list(families(readings))))
    return encode(registry), content_type


class _Once(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def families(readings: Readings) -> Iterator[Metric]:
    """Every metric with its samples. What cannot be read is left out, so that no old figure is taken for today's."""
    build = {"version": __version__, "python": platform.python_version(), "schema": str(SCHEMA_VERSION)}
    yield InfoMetricFamily("vidpipe_build", "The vidpipe that gives these figures.", build)
    yield _gauge("vidpipe_mongodb_up", "Whether MongoDB answers.", readings.mongodb_up)
    yield _gauge("vidpipe_dagster_up", "Whether Dagster's storage can be read.", readings.dagster_up)
    yield _gauge("vidpipe_settings_ok", "Whether config.ini can be read.", readings.settings_ok)
    yield _by("vidpipe_disk_free_bytes", "Free space on the disk of a folder.", "folder", readings.free_bytes)
    yield _by("vidpipe_figures_age_seconds", "Since figures were read.", "part", readings.ages_s)
    yield _by("vidpipe_figures_cost_seconds", "What reading them took.", "part", readings.costs_s)
    if readings.library is not None:
        yield from _library(readings.library)
        yield from _totals(readings.library.totals, readings.library.stages)
    if readings.queue is not None:
        yield from _queue(readings.queue)


def _library(library: LibraryFigures) -> Iterator[Metric]:
    yield _gauge("vidpipe_videos", "Videos in the library.", library.videos)
    states = GaugeMetricFamily("vidpipe_stage_videos", "Videos by stage and state.", labels=["stage", "state"])
    for stage, counts in library.stages.items():
        for state, number in counts.items():
            states.add_metric([stage, state], number)
    yield states
    can_run = {**dict.fromkeys(library.stages, 1), **dict.fromkeys(library.unavailable, 0)}
    yield _by("vidpipe_stage_available", "Whether a stage can run (its rules parse, its model is there).", "stage",
              can_run)  # fmt: skip
    yield _by("vidpipe_due_videos", "Videos with something due in a step.", "step", library.due)
    yield _by("vidpipe_sources", "Sources by state.", "state", library.sources)
    yield _gauge("vidpipe_leased_videos", "Videos that runs hold at this moment.", library.leased)
    yield _gauge("vidpipe_media_bytes", "Bytes of all videos' files.", library.media_bytes)
    yield _gauge("vidpipe_footage_seconds", "Length of all videos.", library.footage_s)
    yield _gauge("vidpipe_frame_pack_bytes", "Bytes of all videos' frame packs.", library.frame_pack_bytes)


def _totals(totals: Mapping[str, Any], stages: Iterable[str]) -> Iterator[Metric]:
    done: Mapping[str, Mapping[str, float]] = totals.get("stages") or {}
    results = CounterMetricFamily(
        "vidpipe_stage_results", "What runs came to, video by video; current is what needed no work.",
        labels=["stage", "result"],
    )  # fmt: skip
    seconds = CounterMetricFamily("vidpipe_stage_seconds", "Time spent in a stage, by all threads.", labels=["stage"])
    changed = CounterMetricFamily("vidpipe_stage_changed", "Results that differ from the one before.", labels=["stage"])
    for stage in dict.fromkeys((*stages, *sorted(done))):
        figures = done.get(stage, {})
        for result in _RESULTS:
            results.add_metric([stage, result], figures.get(result, 0))
        seconds.add_metric([stage], figures.get("seconds", 0.0))
        changed.add_metric([stage], figures.get("changed", 0))
    yield from (results, seconds, changed)
    yield from _model(model_figures(done))
    taken = CounterMetricFamily("vidpipe_sources_taken", "What became of sources in runs.", labels=["result"])
    for result in _SOURCE_RESULTS:
        taken.add_metric([result], (totals.get("sources") or {}).get(result, 0))
    yield taken
    yield CounterMetricFamily("vidpipe_taken_in_bytes", "Bytes taken in.", value=totals.get("bytes_in", 0))
    steps = CounterMetricFamily(
        "vidpipe_run_steps", "Steps of runs that ended, by job and how.", labels=["job", "status"]
    )
    for job, ended in sorted((totals.get("steps") or {}).items()):
        for status, number in sorted(ended.items()):
            steps.add_metric([job, status], number)
    yield steps


def _model(use: ModelUse) -> Iterator[Metric]:
    tokens = CounterMetricFamily(
        "vidpipe_model_tokens", "Tokens that the describing model read and wrote.", labels=["kind"]
    )
    tokens.add_metric(["prompt"], use.prompt_tokens)
    tokens.add_metric(["output"], use.output_tokens)
    yield tokens
    answers = CounterMetricFamily(
        "vidpipe_model_answers", "Answers that it gave, and that were there already.", labels=["result"]
    )
    answers.add_metric(["asked"], use.asked)
    answers.add_metric(["reused"], use.reused)
    yield answers
    yield CounterMetricFamily("vidpipe_model_seconds", "Time in the stages that ask it.", value=use.model_seconds)


def _queue(queue: QueueFigures) -> Iterator[Metric]:
    runs = GaugeMetricFamily(
        "vidpipe_dagster_runs", "Runs that have not ended, by job and Dagster's status.", labels=["job", "status"]
    )
    for (job, status), number in sorted(queue.unfinished.items()):
        runs.add_metric([job, status], number)
    yield runs
    yield _gauge("vidpipe_dagster_queue_runs", "Runs that have not begun.", sum(queue.queued.values()))
    yield _gauge("vidpipe_dagster_queue_oldest_seconds", "Since the oldest of them was created.", queue.oldest_s)
    yield _by(
        "vidpipe_sensor_last_tick_timestamp_seconds", "When a sensor last looked, since 1970.", "sensor", queue.ticks
    )
    yield _by(
        "vidpipe_dagster_daemon_heartbeat_timestamp_seconds", "When a part of Dagster's daemon was last heard of, "
        "since 1970.", "daemon", queue.heartbeats,
    )  # fmt: skip
    slots = GaugeMetricFamily("vidpipe_pool_slots", "Slots of a pool.", labels=["pool", "state"])
    for name, pool in sorted(queue.pools.items()):
        slots.add_metric([name, "taken"], pool.taken)
        slots.add_metric([name, "free"], max(0, pool.slots - pool.taken))
    yield slots
    yield _by(
        "vidpipe_pool_waiting_steps", "Steps that wait for a slot of a pool.", "pool",
        {name: pool.waiting for name, pool in queue.pools.items()},
    )  # fmt: skip


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=float(value))


def _by(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    """A gauge with one label: label's value -> value."""
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family
