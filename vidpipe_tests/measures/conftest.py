"""The page of measures over real HTTP, on a library with known contents."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from urllib.error import HTTPError

import pytest
from prometheus_client.parser import text_string_to_metric_families

from vidpipe.library.library import Library
from vidpipe.measures.readings import Home
from vidpipe.measures.server import measures_app
from vidpipe.settings import Settings
from vidpipe_tests.library.shelf import BROKEN, CONTENTS, GRAPH, fill
from vidpipe_tests.operations.serving_page import serving


@dataclass(frozen=True)
class Page:
    """A server of measures."""

    address: str
    home: Home

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
def page_of(settings: Settings) -> Iterator[Page]:
    home = Home(lambda: settings, GRAPH)
    with serving(measures_app(home)) as port:
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
