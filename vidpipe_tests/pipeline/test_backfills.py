"""Backfills as the page launches them: the real web server and daemon over GraphQL, on a real library."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from pymongo import MongoClient

from vidpipe.library.library import Library
from vidpipe.pipeline.instance import instance, prepare
from vidpipe.pipeline.partitions import add_videos
from vidpipe.settings import Settings, init_home
from vidpipe.settings.schema import MongoDB
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.pipeline.dagster_page import Page, page_and_daemon
from vidpipe_tests.pipeline.three_steps import GRAPH
from vidpipe_tests.runner.small_graph import calls

MODULE = "vidpipe_tests.pipeline.three_steps"


@dataclass
class BackfillHome:
    """A home whose page and daemon are up."""

    settings: Settings
    library: Library
    page: Page

    def add(self, *names: str) -> list[str]:
        """Videos of these names, each a partition."""
        ids = []
        for name in names:
            ids.append(hashlib.sha256(name.encode()).hexdigest())
            facts = IngestFacts(path=name, size_bytes=1, modified_ns=1, names=(name,))
            self.library.videos.add(ids[-1], facts)
        with instance(self.settings) as dagster:
            add_videos(dagster, ids)
        return ids

    def break_(self, name: str) -> Path:
        file = self.settings.home / f"broken-{name}"
        file.touch()
        return file


@pytest.fixture(scope="module")
def backfill_home(mongod_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackfillHome]:
    home = tmp_path_factory.mktemp("backfills")
    init_home(home)
    name = f"test_{uuid.uuid4().hex[:16]}"
    settings = Settings(home=home, mongodb=MongoDB(uri=SecretStr(mongod_uri), database_name=name))
    environment = {
        "DAGSTER_HOME": str(prepare(settings)),
        "VIDPIPE_HOME": str(home),
        "VIDPIPE_MONGODB_URI": mongod_uri,
        "VIDPIPE_MONGODB_DATABASENAME": name,
        "VIDPIPE_SENSORS_ENABLED": "no",
    }
    instance(settings).dispose()  # lays out Dagster's tables, which two processes cannot do at once
    with Library.open(settings, GRAPH) as library, page_and_daemon(MODULE, environment, home) as page:
        yield BackfillHome(settings, library, page)
    with MongoClient[dict[str, object]](mongod_uri) as client:
        client.drop_database(name)


@pytest.mark.soak
def test_three_steps_at_once_with_a_broken_video_among_good_ones_and_its_retry(backfill_home: BackfillHome) -> None:
    ids = backfill_home.add("good", "fine", "nice", "evil")
    mended = backfill_home.break_("evil")
    first = backfill_home.page.backfill(GRAPH.names, ids)
    done = backfill_home.page.ended(first)
    assert done.status == "COMPLETED_FAILED"
    assert done.assets == ["length", "parts", "report"], "a run a step, each after the one before"
    assert [backfill_home.page.colors(asset, ids) for asset in GRAPH.names] == ["gggr", "ggg-", "ggg-"]
    assert f"video {ids[3][:12]} cannot be measured. Mend it." in backfill_home.page.failure(done.runs[-1]["runId"])
    (said,) = backfill_home.page.told("length", ids[3])
    assert f"video {ids[3][:12]} cannot be measured." in said
    assert "Mend it." in said
    (said,) = backfill_home.page.told("report", ids[3])
    assert "It waits for length, which failed: " in said, "a later step that was never begun says why"

    mended.unlink()
    again = backfill_home.page.ended(backfill_home.page.again(first))
    assert again.status == "COMPLETED_SUCCESS"
    assert again.assets == ["length", "parts", "report"]
    assert [backfill_home.page.colors(asset, ids) for asset in GRAPH.names] == ["gggg", "gggg", "gggg"]
    assert len(calls(backfill_home.settings, "report")) == len(ids), "what was green is not computed again"


def test_a_scattered_selection_is_a_run_a_range_and_one_run_of_process(backfill_home: BackfillHome) -> None:
    ids = backfill_home.add(*(f"scattered-{number}" for number in range(9)))
    backfill_home.break_("scattered-4")
    chosen = [ids[0], ids[2], ids[3], ids[4], ids[6]]
    done = backfill_home.page.ended(backfill_home.page.backfill(["length"], chosen))
    assert len(done.runs) == 3, "Dagster starts a run for each range of neighbours"
    assert backfill_home.page.colors("length", ids) == "g-ggr-g--"

    rest = [ids[1], ids[5], ids[8]]
    keys = f"{ids[1]}\n\n  {ids[5][:12]}  \n{ids[8][:12]}"
    run = backfill_home.page.run("process", {"ops": {"process_videos": {"config": {"keys": keys}}}})
    assert run["status"] == "SUCCESS"
    assert [backfill_home.page.colors(asset, rest) for asset in GRAPH.names] == ["ggg"] * 3
    assert backfill_home.page.colors("length", ids) == "ggggrgg-g"
