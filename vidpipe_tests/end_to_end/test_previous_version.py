"""A home of the previous version: nothing is computed again, and its Dagster history continues.

previous_version/backup was written by `vidpipe backup --media` of that version, for a library of four clips;
previous_version/dagster holds its data/dagster: the databases as SQL, and a dagster.yaml that names classes of that
version which no longer exist.
"""

from __future__ import annotations

import gzip
import shutil
import sqlite3
from pathlib import Path

import dagster as dg
import pytest

from vidpipe.pipeline.instance import instance
from vidpipe.pipeline.partitions import VIDEOS
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.end_to_end.home import Home

_FILES = Path(__file__).with_name("previous_version")
#: The code of scenes and the default rules have changed since; what is stored stays until these stages run again.
_CHANGED = ("scenes", "tags", "categories")
_RUNS = {"ingest": 2, "process": 1, "prepare_list": 1, "describe_list": 1, "label_list": 1}


@pytest.fixture
def old_home(empty_home: Home, tmp_path: Path) -> Home:
    """The home of the previous version, with the settings that computed its results."""
    home = Home(empty_home.path, {"VIDPIPE_CONCURRENCY_MAXWORKERS": "1"})
    shutil.rmtree(home.data / "dagster", ignore_errors=True)
    for file in (_FILES / "dagster").rglob("*.sql.gz"):
        database = home.data / file.relative_to(_FILES).with_suffix("").with_suffix("")
        database.parent.mkdir(parents=True, exist_ok=True)
        with sqlite3.connect(database) as connection:
            connection.executescript(gzip.decompress(file.read_bytes()).decode())
        connection.close()
    shutil.copy(_FILES / "dagster" / "dagster.yaml", home.data / "dagster")
    backup = shutil.copytree(_FILES / "backup", tmp_path / "backups" / "2026-11-28T22-25-48Z")
    restored = home("restore", backup)
    assert restored.code == 0, restored.stdout + restored.stderr
    return home


def test_a_home_of_the_previous_version_keeps_its_results_and_its_history(
    old_home: Home, clip_files: list[Path]
) -> None:
    assert old_home.states() == {name: {"due": 4} if name in _CHANGED else {"current": 4} for name in GRAPH.names}
    before = old_home.library()
    report = old_home.json("run", clip_files[0])
    assert {name: stage["computed"] for name, stage in report["stages"].items()} == dict.fromkeys(GRAPH.names, 1)
    partly = {"current": 1, "due": 4}
    assert old_home.states() == {name: partly if name in _CHANGED else {"current": 5} for name in GRAPH.names}
    assert [row for row in old_home.library() if row in before] == before

    with instance(old_home.settings) as dagster:
        runs = dagster.get_runs()
        jobs = [run.job_name for run in runs]
        assert {job: jobs.count(job) for job in jobs} == {**_RUNS, "ingest": 3, "process": 2}
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        assert all(dagster.all_logs(run.run_id) for run in runs)
        videos = set(dagster.get_dynamic_partitions(VIDEOS.name))
        assert len(videos) == 5
        for name in GRAPH.names:
            assert dagster.get_materialized_partitions(dg.AssetKey(name)) == videos
    assert old_home("down").code == 0
    old_home.assert_tidy()
