"""The page of measures over real HTTP, on a library with known contents."""

from __future__ import annotations

import math
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from urllib.error import HTTPError

import pytest
from prometheus_client.parser import text_string_to_metric_families

from vidpipe.library.library import Library
from vidpipe.operations.metrics.exposition import metrics_app
from vidpipe.operations.metrics.snapshot import HomeMetrics
from vidpipe.pipeline.instance import instance
from vidpipe.pipeline.run_queue import queue_figures
from vidpipe.settings import Settings
from vidpipe_tests.library.sample_library import BROKEN, CONTENTS, GRAPH, fill
from vidpipe_tests.operations.serving_page import serving


@dataclass(frozen=True)
class Page:
    """A server of measures."""

    address: str
    home: HomeMetrics

    def get(self, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[int, HTTPMessage, str]:
        request = urllib.request.Request(self.address + path, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()

    def figures(self) -> dict[tuple[str, ...], float]:
        """(name, values of its labels in the order of their names) -> value, as Prometheus reads the page."""
        status, _, text = self.get()
        assert status == 200
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@contextmanager
def page_of(settings: Settings, **cache: float) -> Iterator[Page]:
    """No figure is kept unless `cache` says so, so that a test sees what it just did."""
    limits = cache or {"min_age_s": 0.0, "max_load": math.inf}
    with instance(settings) as dagster:
        home = HomeMetrics(lambda: settings, GRAPH, lambda: queue_figures(dagster), **limits)
        with serving(metrics_app(home)) as port:
            yield Page(f"http://127.0.0.1:{port}", home)
        home.close()


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    """Three videos through all stages, and one whose first stage failed."""
    with Library.open(settings, GRAPH) as opened:
        fill(opened, *CONTENTS, BROKEN)
        yield opened


@pytest.fixture
def page(settings: Settings, library: Library) -> Iterator[Page]:
    with page_of(settings) as served:
        yield served
