"""A home on disk with a real library, and a way to make things old."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vidpipe.library.library import Library
from vidpipe.operations.retention import PruneReport
from vidpipe.settings import Settings
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.default_graph import GRAPH

Work = Callable[[PruneReport, bool], None]


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


@pytest.fixture
def video(library: Library) -> Callable[[str], str]:
    """Adds a video; gives its sha256."""

    def add(name: str) -> str:
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        library.videos.add(sha256, IngestFacts(path=name, size_bytes=1, modified_ns=1, names=(name,)))
        return sha256

    return add


def age(path: Path, days: float) -> None:
    """Makes a file, or a folder with all in it, `days` old."""
    when = time.time() - days * 86400
    for below in path.rglob("*") if path.is_dir() else ():
        os.utime(below, (when, when))
    os.utime(path, (when, when))


def write(path: Path, size: int = 100, days: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    age(path, days)
    return path


def both(work: Work) -> PruneReport:
    """The report of a deletion, after a dry run that has to say the same."""
    told, done = PruneReport("test"), PruneReport("test")
    work(told, True)
    work(done, False)
    assert (told.count, told.size_bytes, told.oldest) == (done.count, done.size_bytes, done.oldest)
    assert told.notes == done.notes
    return done
