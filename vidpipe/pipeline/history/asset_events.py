"""Events of assets and checks that later ones have taken the place of, from old runs.

What the page shows of a partition hangs on its latest event of each type; those stay for ever.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)

from vidpipe.operations.retention.pruning import PruneReport, paced_chunks
from vidpipe.pipeline.history.old_runs import OldRuns, asset_keys, chunks_of, event_storage, from_utc

#: Events of 2 to 20 kB each: a transaction of so many takes some tens of milliseconds.
_CHUNK = 300
_TYPES = sorted(event.value for event in ASSET_EVENTS)
_MADE = dg.DagsterEventType.ASSET_MATERIALIZATION.value
_PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value
_ROWS = SqlEventLogStorageTable.c


def delete_superseded(
    instance: dg.DagsterInstance, old: OldRuns, before: float, report: PruneReport, dry_run: bool
) -> None:
    """Of each (asset, type, partition) all events but the latest, where their run is old; planned
    materialisations also where one was made later. before: seconds since 1970, for events of no run."""
    storage = event_storage(instance)
    for key in asset_keys(instance):
        for event_type in _TYPES:
            ids = array("q")
            with storage.index_connection() as connection:
                for event_id, run_id, size, at in connection.execute(_superseded(key.to_string(), event_type)):
                    when = from_utc(at)
                    if old.is_old(run_id) and (run_id or when < before):
                        ids.append(event_id)
                        report.add(size or 0, when)
            if not dry_run:
                _delete(instance, ids)


def _superseded(asset_key: str, event_type: str) -> db.Select[Any]:
    """(id, run, size, time) of the events of one type that are not the latest of their partition. Only of these the
    rows themselves are read; the rest is answered from an index."""
    of_type = (_ROWS.asset_key == asset_key) & (_ROWS.dagster_event_type == event_type)
    later = db.func.lead(_ROWS.id).over(partition_by=_ROWS.partition, order_by=_ROWS.id).label("later")
    events = db.select(_ROWS.id, _ROWS.partition, later).where(of_type).subquery()
    condition: Any = events.c.later.is_not(None)
    if event_type == _PLANNED:
        # A search of the index for each event: SQLite would go through all of a joined table for each.
        made = SqlEventLogStorageTable.alias()
        condition = condition | db.exists().where(
            (made.c.asset_key == asset_key)
            & (made.c.dagster_event_type == _MADE)
            & (made.c.partition == events.c.partition)
            & (made.c.id > events.c.id)
        )
    ids = db.select(events.c.id).where(condition)
    return db.select(_ROWS.id, _ROWS.run_id, db.func.length(_ROWS.event), _ROWS.timestamp).where(_ROWS.id.in_(ids))


def _delete(instance: dg.DagsterInstance, ids: Sequence[int]) -> None:
    storage = event_storage(instance)
    for chunk in paced_chunks(ids, _CHUNK):
        with storage.index_connection() as connection:
            wanted = list(chunk)
            connection.execute(SqlEventLogStorageTable.delete().where(_ROWS.id.in_(wanted)))
            connection.execute(AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(wanted)))


def delete_other_events(instance: dg.DagsterInstance, old: OldRuns, report: PruneReport, dry_run: bool) -> None:
    """Beginnings and ends of forgotten runs, and results of asset checks that a later one has taken the place of.

    The very last event stays, whatever it is: SQLite would give its number to the next one, and sensors that remember
    how far they have read would not see that.
    """
    storage = event_storage(instance)
    for chunk in chunks_of(list(old.doomed)):
        with storage.index_connection() as connection:
            last = connection.execute(db.select(db.func.max(_ROWS.id))).scalar() or 0
            wanted = _ROWS.run_id.in_(chunk) & _ROWS.dagster_event_type.not_in(_TYPES) & (_ROWS.id < last)
            figures = db.select(db.func.count(), db.func.sum(db.func.length(_ROWS.event))).where(wanted)
            count, size = connection.execute(figures).one()
            if count:
                report.add(size or 0, min(old.doomed[run_id] for run_id in chunk), count)
            if not dry_run:
                connection.execute(SqlEventLogStorageTable.delete().where(wanted))
    checks = list(_superseded_checks(instance, old, report))
    for ids in paced_chunks(checks, _CHUNK) if not dry_run else ():
        with storage.index_connection() as connection:
            connection.execute(AssetCheckExecutionsTable.delete().where(AssetCheckExecutionsTable.c.id.in_(ids)))


def _superseded_checks(instance: dg.DagsterInstance, old: OldRuns, report: PruneReport) -> Iterator[int]:
    """All but the latest execution of a check on a partition, and the latest that came to a result."""
    rows = AssetCheckExecutionsTable.c
    group = (rows.asset_key, rows.check_name, rows.partition)
    evaluated = db.case((rows.execution_status != "PLANNED", rows.id))
    ranked = db.select(
        rows.id, rows.run_id, db.func.length(rows.evaluation_event).label("size"), rows.create_timestamp,
        db.func.max(rows.id).over(partition_by=group).label("newest"),
        db.func.max(evaluated).over(partition_by=group).label("result"),
    ).subquery()  # fmt: skip
    wanted = (ranked.c.id != ranked.c.newest) & (ranked.c.result.is_(None) | (ranked.c.id != ranked.c.result))
    query = db.select(ranked.c.id, ranked.c.run_id, ranked.c.size, ranked.c.create_timestamp).where(wanted)
    with event_storage(instance).index_connection() as connection:
        for row_id, run_id, size, at in connection.execute(query).fetchall():
            if run_id and old.is_old(run_id):
                report.add(size or 0, from_utc(at) if at else None)
                yield row_id
