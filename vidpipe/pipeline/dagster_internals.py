"""All that vidpipe takes from inside Dagster; no other module does. A test says what a new release lacks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

# Raised for a dagster.yaml that names a missing module; it is no `DagsterError`.
from dagster._check import CheckError
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

# Types in the signatures of run launchers and coordinators, which are documented extension points.
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

# The input of `dagster api execute_run`, with which all launchers start the process of a run.
from dagster._grpc.types import ExecuteRunArgs

# In its `capture_interrupts`, an interrupt that arrives while a run is being loaded ends the run as soon as it starts.
from dagster._utils import interrupts

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# The job of runs that a backfill or the page launches over assets, and the tags of a range of partitions.
ASSET_JOB = "__ASSET_JOB"
RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

__all__ = [
    "CheckError", "CheckRunHealthResult", "ExecuteRunArgs", "LaunchRunContext", "QueuedRunCoordinator",
    "SubmitRunContext", "WorkerStatus", "interrupts",
]  # fmt: skip


def pool_slots(instance: dg.DagsterInstance) -> dict[str, tuple[int, int, int]]:
    """Return pool -> its slots, slots taken and waiting steps, which Dagster shows on its page only."""
    storage = instance.event_log_storage
    found = {limit.name: storage.get_concurrency_info(limit.name) for limit in storage.get_pool_limits()}
    return {name: (pool.slot_count, pool.active_slot_count, pool.pending_step_count) for name, pool in found.items()}


def set_pool_limits(instance: dg.DagsterInstance, limits: Mapping[str, int]) -> None:
    """Set pool -> slots, which Dagster offers on its page and as `dagster instance concurrency set` only."""
    for pool, slots in limits.items():
        instance.event_log_storage.set_concurrency_slots(pool, slots)


def free_pool_slots(instance: dg.DagsterInstance, run_id: str) -> None:
    """Free the slots of a dead run at once; Dagster's daemon takes a minute, and need not be running."""
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def unfinished_backfills(instance: dg.DagsterInstance) -> set[str]:
    """Return the ids of the backfills that may still launch runs."""
    statuses = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
    return {backfill.backfill_id for backfill in instance.get_backfills(BulkActionsFilter(statuses=statuses))}


@contextlib.contextmanager
def dagster_page(instance: dg.DagsterInstance, workspace: Path) -> Iterator[ASGIApp]:
    """Yield the app of Dagster's page, which its own command serves without a guard."""
    # Imported here because they take a second, which other users of this module need not spend.
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context

    with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)]), dg.__version__) as context:
        yield create_app_from_workspace_process_context(context, live_data_poll_rate=2000)
