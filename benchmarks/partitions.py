"""What many partitions cost: `python -m benchmarks.partitions [KEYS...] [--postgres ADDRESS]`.

For each number of KEYS (10000 100000 300000), a new home with as many videos and partitions; ratios are to the first.
ADDRESS is that of an empty PostgreSQL database for the first number; each further one needs a database called like it
with _1, _2, … appended.

    add            add_dynamic_partitions, 500 keys a call, per 1,000 keys
    remove         delete_dynamic_partition, per 1,000 keys
    all keys       get_dynamic_partitions
    page           PartitionHealthQuery, which Dagster's page sends for an asset's partitions and for each asset of the
                   launch dialog; answered by the webserver's GraphQL schema in this process, with the code location of
                   vidpipe in another, as usual; the median, the first answer, and the size of the answer
    dialog         the other query of the launch dialog, LaunchAssetWarningsQuery
    backfill       launchPartitionBackfill over 100 keys: until the page answers
    sensor         an evaluation of due_videos, with 100 videos due
    run of one     a run of an asset that does nothing, for one key, in this process
    run of 100     likewise, for 100 neighbouring keys
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.cli import execute_query
from pydantic import SecretStr

from benchmarks.homes import empty_home
from vidpipe.library import embedded
from vidpipe.library.library import Library
from vidpipe.library.videos import chunked
from vidpipe.pipeline.instance import instance
from vidpipe.pipeline.partitions import VIDEOS, add_videos
from vidpipe.pipeline.sensors.due_videos import evaluate
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.default_graph import GRAPH

OUT = Path(__file__).parent / "out" / "partitions"
WORKSPACE = Path(__file__).parents[1] / "workspace.yaml"
KEYS = (10_000, 100_000, 300_000)
REPEATS = 3
DUE = 100
MATERIALIZED = 200
_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}

_HEALTH = """query PartitionHealthQuery($assetKey: AssetKeyInput!) { assetNodeOrError(assetKey: $assetKey) {
  ... on AssetNode { id partitionKeysByDimension { name type partitionKeys }
    assetPartitionStatuses { ... on DefaultPartitionStatuses {
      materializedPartitions materializingPartitions failedPartitions } } } } }"""
_WARNINGS = """query LaunchAssetWarningsQuery($upstreamAssetKeys: [AssetKeyInput!]!) {
  assetNodes(assetKeys: $upstreamAssetKeys) { id isMaterializable assetKey { path }
    partitionDefinition { description dimensionTypes { __typename name dynamicPartitionsDefinitionName } } }
  instance { id daemonHealth { id allDaemonStatuses { id daemonType healthy } } } }"""
_BACKFILL = """mutation($parameters: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $parameters) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""


@dg.asset(partitions_def=VIDEOS, backfill_policy=dg.BackfillPolicy.single_run())
def nothing() -> None:
    """Does nothing."""


def seconds(work: Callable[[], Any]) -> float:
    """How long `work` takes, once."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median(work: Callable[[], Any]) -> float:
    """How long `work` takes: the median of `REPEATS`."""
    return statistics.median(seconds(work) for _ in range(REPEATS))


def fill(library: Library, settings: Settings, keys: list[str]) -> None:
    """Puts a video for each key into MongoDB, the last `DUE` due, the others current."""
    library.videos.add(keys[-1], IngestFacts(path="a.mp4", size_bytes=1, modified_ns=1, names=("a.mp4",)))
    new = library.videos.get(keys[-1]) or {}
    plan = Plan.make(GRAPH, settings)
    current = {name: {"status": "ok", "ready": True, "stale": False, "spec": plan.specs.get(name, "")}
               for name in GRAPH.names}  # fmt: skip
    plan.close()
    stages = {**new["stages"], **current}
    for chunk in chunked(keys[:-DUE], 5000):
        library.collections["videos"].insert_many([{**new, "_id": key, "stages": stages} for key in chunk])
    library.collections["videos"].insert_many([{**new, "_id": key} for key in keys[-DUE:-1]])


def measure(number: int, postgres: str) -> dict[str, float]:
    """Figure -> seconds, for so many keys; sizes in megabytes."""
    settings = empty_home(OUT / str(number))
    if postgres:
        cluster = settings.cluster.model_copy(update={"postgres": SecretStr(postgres)})
        settings = settings.model_copy(update={"cluster": cluster})
    os.environ["VIDPIPE_HOME"] = str(settings.home)
    keys = [hashlib.sha256(str(key).encode()).hexdigest() for key in range(number)]
    found: dict[str, float] = {}
    with instance(settings) as dagster, Library.open(settings, GRAPH) as library:
        found["add, 1,000 keys"] = seconds(lambda: add_videos(dagster, keys)) * 1000 / number
        found["all keys"] = median(lambda: dagster.get_dynamic_partitions("videos"))
        for key in keys[:MATERIALIZED]:
            dagster.report_runless_asset_event(dg.AssetMaterialization("raw_video", partition=key))

        with WorkspaceProcessContext(dagster, WorkspaceFileTarget([str(WORKSPACE)])) as page:

            def ask(query: str, **variables: Any) -> Any:
                answer = execute_query(page, query, variables)
                if "errors" in answer:
                    raise SystemExit(str(answer["errors"])[:2000])
                return answer["data"]

            health = {"assetKey": {"path": ["raw_video"]}}
            found["page, first"] = seconds(lambda: ask(_HEALTH, **health))
            found["page"] = median(lambda: ask(_HEALTH, **health))
            answer = ask(_HEALTH, **health)
            node = answer["assetNodeOrError"]
            if len(node["partitionKeysByDimension"][0]["partitionKeys"]) != number:
                raise SystemExit("the page does not see all partitions")
            if len(node["assetPartitionStatuses"]["materializedPartitions"]) != MATERIALIZED:
                raise SystemExit("the page does not see all materializations")
            found["page, MB"] = len(json.dumps(answer)) / 1e6
            found["dialog"] = median(lambda: ask(_WARNINGS, upstreamAssetKeys=[{"path": ["raw_video"]}]))
            launch = {"assetSelection": [{"path": ["raw_video"]}], "partitionNames": keys[-100:]}
            found["backfill"] = median(lambda: ask(_BACKFILL, parameters=launch))

        job = dg.Definitions(assets=[nothing], jobs=[dg.define_asset_job("run", [nothing])]).resolve_job_def("run")
        range_tags = {"dagster/asset_partition_range_start": keys[-100], "dagster/asset_partition_range_end": keys[-1]}
        run: Any = partial(job.execute_in_process, _QUIET, dagster)
        found["run of one"] = median(lambda: run(partition_key=keys[-1]))
        found["run of 100"] = median(lambda: run(tags=range_tags))
        fill(library, settings, keys)
        found["sensor, first"] = seconds(lambda: evaluate(dagster, library, settings))
        found["sensor"] = median(lambda: evaluate(dagster, library, settings))
        gone = keys[:200]
        found["remove, 1,000 keys"] = 5 * seconds(
            lambda: [dagster.delete_dynamic_partition("videos", key) for key in gone]
        )
    embedded.stop(settings)
    return found


def main() -> int:
    """Print the table."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*", type=int, default=list(KEYS))
    parser.add_argument("--postgres", default="")
    given = parser.parse_args()
    tables: list[dict[str, float]] = []
    for place, number in enumerate(given.keys):
        address = f"{given.postgres}{f'_{place}' if place else ''}" if given.postgres else ""
        tables.append(measure(number, address))
        print(f"{number:,} keys: {json.dumps({name: round(value, 4) for name, value in tables[-1].items()})}")
    print(f"{'':20}" + "".join(f"{number:>12,}{'':10}" for number in given.keys))
    for name, first in tables[0].items():
        cells = (f"{table[name]:>12.3f} {f'({table[name] / first:.1f}x)':<9}" for table in tables)
        print(f"{name:20}" + "".join(cells))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
