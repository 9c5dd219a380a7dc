"""Every hostile file, page and server at once: nothing hangs, crashes the run, reads or writes outside, or is reached
that must not be, and the good inputs among them all come through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe.settings import Settings
from vidpipe.settings.operation import Download
from vidpipe.sources.ingest import Ingest
from vidpipe.sources.inputs import gather
from vidpipe.sources.records import IngestOutcome
from vidpipe_tests.fault_server import FaultServer
from vidpipe_tests.hostile.cases import SECRET, Case, Inside, inside, rebinding
from vidpipe_tests.hostile.files import hostile_files
from vidpipe_tests.hostile.pages import hostile_pages
from vidpipe_tests.sources.conftest import MemorySources


class Corpus:
    """All cases, and what was given to the ingest."""

    def __init__(self, folder: Path, server: FaultServer, inner: Inside) -> None:
        self.folder, self.server, self.inside = folder, server, inner
        self.cases = [
            *hostile_files(folder / "files", inner),
            *hostile_pages(server, inner, folder / "pages"),
        ]

    def add(self, cases: list[Case], home: Path) -> dict[str, list[IngestOutcome]]:
        """Add the cases in one ingest; return name of a case -> outcomes."""
        download = Download(
            retries=0, connect_timeout=2.0, read_timeout=1.5, min_speed=500, max_size_mb=8, min_free_mb=0, parallel=8,
            allowed_private=(f"127.0.0.1:{self.server.port}",), host_interval=0,
        )  # fmt: skip
        settings = Settings(home=home, download=download)
        found: dict[str, list[IngestOutcome]] = {}
        requests = []
        for case in cases:
            gathered = gather([case.given], settings=settings)
            found[case.name] = list(gathered.problems)
            requests += [(case.name, request) for request in gathered.requests]
        outcomes = Ingest(settings, MemorySources()).run([request for _, request in requests])
        for (name, _), outcome in zip(requests, outcomes, strict=True):
            found[name].append(outcome)
        return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    folder = tmp_path_factory.mktemp("hostile")
    with inside(folder / "inside") as inner, FaultServer() as server, rebinding(inner, server.port):
        yield Corpus(folder, server, inner)


def assert_unharmed(corpus: Corpus, cases: list[Case], home: Path) -> None:
    before = set(corpus.folder.rglob("*"))
    outside = set(home.parent.iterdir())
    found = corpus.add(cases, home)
    wrong = []
    for case in cases:
        outcomes = found[case.name]
        stored = any(one.state in ("stored", "already stored") for one in outcomes)
        errors = [one.error or "" for one in outcomes]
        if not outcomes:
            wrong.append(f"{case.name}: no outcome")
        if case.expect == "refused" and stored:
            wrong.append(f"{case.name}: stored")
        if case.expect == "stored" and not stored:
            wrong.append(f"{case.name}: not stored: {errors}")
        for error in errors:
            if "nexpected error" in error or "Traceback" in error or SECRET in error or len(error) > 3000:
                wrong.append(f"{case.name}: {error[:500]}")
        if not stored and not all(len(error) > 20 for error in errors):
            wrong.append(f"{case.name}: no sentence: {errors}")
    assert not wrong, "\n".join(wrong)
    assert corpus.inside.visits == []
    assert set(corpus.folder.rglob("*")) == before
    assert set(home.parent.iterdir()) == outside
    assert not [path for path in home.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    left = [path.name for path in (home / "data" / "media" / "incoming").iterdir() if not path.name.endswith(".lock")]
    assert not [name for name in left if os.path.islink(home / "data" / "media" / "incoming" / name)]


def test_there_are_at_least_300_cases(corpus: Corpus) -> None:
    assert len({case.name for case in corpus.cases}) == len(corpus.cases) >= 300


def test_a_sample_of_everything_hostile_does_no_harm(corpus: Corpus, home: Path) -> None:
    good = [case for case in corpus.cases if case.expect == "stored"][::8]
    assert_unharmed(corpus, [*corpus.cases[::30], *(case for case in good if case not in corpus.cases[::30])], home)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_everything_hostile_does_no_harm(corpus: Corpus, home: Path) -> None:
    assert_unharmed(corpus, corpus.cases, home)
