"""`vidpipe status` says which machines take runs, and how many runs are in progress there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from vidpipe.cli.status_view import sentences
from vidpipe.library.library import Library
from vidpipe.library.workers import Workers
from vidpipe.operations.metrics.snapshot import read_library
from vidpipe.operations.status import status_of
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe_tests.runner.small_graph import GRAPH


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    cluster = settings.cluster.model_copy(update={"launcher": "celery"})
    with Library.open(settings.model_copy(update={"cluster": cluster}), GRAPH) as opened:
        yield opened


def test_machines_with_their_queues_slots_and_runs(library: Library) -> None:
    workers = Workers(library.collections)
    workers.beat("east/b00t/1|12|3", ["cpu", "gpu"], 2, ["a run"])
    workers.beat("west/b00t/1|13|3", ["cpu"], 1)
    with closing(Plan.make(GRAPH, library.settings)) as plan:
        result = status_of(library, plan)
        assert read_library(library.connection, plan).workers == 2
    assert [(one["machine"], one["queues"], one["slots"], one["runs"]) for one in result["workers"]] == [
        ("east/b00t/1", ["cpu", "gpu"], 2, 1),
        ("west/b00t/1", ["cpu"], 1, 0),
    ]
    said = [str(sentence) for sentence in sentences(result)]
    assert "Worker on east: cpu, gpu; slots: 2; runs in progress: 1." in said
    workers.leave("east/b00t/1|12|3")
    assert workers.present()[0].queues == ["cpu"]


def test_a_machine_with_other_settings_or_rules_is_noticed(library: Library) -> None:
    with closing(Plan.make(GRAPH, library.settings)) as plan:
        first, *others = plan.specs
        workers = Workers(library.collections)
        workers.beat("east/b00t/1|12|3", ["cpu"], 1, specs={**plan.specs, first: "made with other rules"})
        workers.beat("west/b00t/1|13|3", ["cpu"], 1, specs={name: plan.specs[name] for name in others})
        result = status_of(library, plan)
    assert [one["differs"] for one in result["workers"]] == [[first], []]
    said = [str(sentence) for sentence in sentences(result)]
    assert f"  Its settings or rules differ from this machine's, for {first}: see docs/cluster.md." in said


def test_on_one_machine_nobody_asks_for_workers(settings: Settings) -> None:
    with Library.open(settings, GRAPH) as library, closing(Plan.make(GRAPH, settings)) as plan:
        Workers(library.collections).beat("east/b00t/1|12|3", ["cpu"], 1)
        assert status_of(library, plan)["workers"] == []
