"""What a run did, video by video and stage by stage, written into Dagster's event log in batches.

`context.log_event` stores one event at a time, in two SQLite transactions each, and keeps every event in memory until
the step ends. Here a thread of its own collects what the Runner tells and stores it in batches.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, AssetObservationData, StepMaterializationData
from dagster._core.execution.context.system import StepExecutionContext

from vidpipe.errors import VidpipeError

log = logging.getLogger(__name__)

_BATCH = 250
_WAIT_S = 0.5
#: More unwritten events than this hold the run back, so that memory does not grow with the number of videos.
_MOST_WAITING = 500

#: What the event log knows of.
Entry = TypeVar("Entry")
Record = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation | AssetMaterializationPlannedData


class StepContext(Protocol):
    """What an op's and an asset's context have in common."""

    @property
    def instance(self) -> dg.DagsterInstance: ...

    @property
    def run(self) -> dg.DagsterRun: ...

    @property
    def retry_number(self) -> int: ...

    def get_step_execution_context(self) -> StepExecutionContext: ...


class EventLog(Generic[Entry]):
    """Takes entries of one step from any thread. Use it in a `with`; leaving it writes what is left.

    records: what a batch of entries comes to in the event log; called in this log's own thread
    Raises VidpipeError on leaving if events could not be stored. The videos' results in MongoDB stay all the same.
    """

    def __init__(self, context: StepContext, records: Callable[[list[Entry]], Sequence[Record]]) -> None:
        self._instance = context.instance
        self._step = context.get_step_execution_context()
        self._records = records
        self._waiting: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._last = False
        self._last_at: dict[dg.AssetKey | None, float] = {}
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="dagster-events", daemon=True)

    def __enter__(self) -> EventLog[Entry]:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with self._changed:
            self._last = True
            self._changed.notify_all()
        self._thread.join()
        if self._fault is not None and error is None:
            raise VidpipeError(
                f"Dagster's event log could not be written: {self._fault}.",
                "The results are stored. Check the disk of data/dagster; materialise the videos again to show them.",
            ) from self._fault

    def put(self, entry: Entry) -> None:
        with self._changed:
            while len(self._waiting) >= _MOST_WAITING:
                self._changed.wait()
            self._waiting.append(entry)
            if len(self._waiting) == _BATCH:
                self._changed.notify_all()

    def _take(self) -> tuple[list[Entry], bool]:
        """What has come by the time that there is a batch of it, and whether it is the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._last or len(self._waiting) >= _BATCH, _WAIT_S)
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
            self._changed.notify_all()
            return batch, self._last and not self._waiting

    def _work(self) -> None:
        last = False
        while not last:
            batch, last = self._take()
            if batch and self._fault is None:
                try:
                    entries = [self._entry(record) for record in self._records(batch)]
                    if entries:
                        self._instance.event_log_storage.store_event_batch(entries)
                except Exception as error:
                    log.exception("%d events could not be written to Dagster's event log", len(batch))
                    self._fault = error

    def _entry(self, record: Record) -> dg.EventLogEntry:
        event = self._event(record)
        # Of an asset's events of the same millisecond, Dagster's page lists one.
        asset = event.asset_key
        at = max(time.time(), self._last_at.get(asset, 0.0) + 0.001)
        self._last_at[asset] = at
        return dg.EventLogEntry(  # type: ignore[no-untyped-call]
            error_info=None,
            level=logging.INFO,
            user_message=event.message or "",
            run_id=self._step.run_id,
            timestamp=at,
            step_key=self._step.step.key,
            job_name=self._step.job_name,
            dagster_event=event,
        )

    def _event(self, record: Record) -> dg.DagsterEvent:
        if isinstance(record, AssetMaterializationPlannedData):
            return dg.DagsterEvent.build_asset_materialization_planned_event(
                self._step.job_name, self._step.step.key, record
            )
        data: StepMaterializationData | AssetObservationData | dg.AssetCheckEvaluation
        if isinstance(record, dg.AssetMaterialization):
            kind, data = dg.DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(record)
        elif isinstance(record, dg.AssetObservation):
            kind, data = dg.DagsterEventType.ASSET_OBSERVATION, AssetObservationData(record)
        else:
            kind, data = dg.DagsterEventType.ASSET_CHECK_EVALUATION, record
        return dg.DagsterEvent(
            event_type_value=kind.value,
            job_name=self._step.job_name,
            step_handle=self._step.step.handle,
            node_handle=self._step.step.node_handle,
            step_kind_value=self._step.step.kind.value,
            logging_tags=self._step.event_tags,
            event_specific_data=data,
            message=record.description,
            pid=os.getpid(),
        )
