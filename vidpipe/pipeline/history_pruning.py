"""Deletes old runs from Dagster's history, which grows for ever otherwise, and keeps the state of each partition.

How Dagster 1.13 derives a partition's state: green by any materialization; failed where it was planned later by a run
that has failed; in progress where that run has not finished. A planned materialization whose run is gone counts for
nothing. So before a run is deleted, the materializations and observations that are the latest of their partition are
reported again, outside any run. A run stays where that would change a state: if a partition is failed by it, or if it
holds the last materialization of a partition that is failed or in progress.
"""

import json
import re
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import dagster as dg

from vidpipe.library.videos import chunked
from vidpipe.operations.retention import PruneReport, PruneTask, cutoff
from vidpipe.operations.retention.traces import Traces
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.dagster_internals import unfinished_backfills
from vidpipe.pipeline.event_metadata import rereported
from vidpipe.pipeline.partitions import VIDEOS
from vidpipe.settings import Settings

_MADE = dg.DagsterEventType.ASSET_MATERIALIZATION
_OBSERVED = dg.DagsterEventType.ASSET_OBSERVATION
_PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
_HARMLESS = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED]
_FINISHED = [*_HARMLESS, dg.DagsterRunStatus.FAILURE]
_BACKFILL_TAG = "dagster/backfill"
_PAGE_SIZE = 500
#: How long another process may keep a database of Dagster locked.
_PATIENCE_S = 60.0
#: Events that are reported again before it is checked whether others have come meanwhile.
_CHUNK_SIZE = 50
_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: Long enough for 50,000 events; a larger history is pruned over several nights.
DEFAULT_MAX_DURATION_S = 600.0


class HistoryPruning:
    """The clean-up of Dagster's history under [Retention].

    Args:
        instance: Its storage is Dagster's SQLite storage in data/dagster.
        settings: Those of the home.
        max_duration_s: Runs that are left after this time wait for the next clean-up.
    """

    def __init__(
        self, instance: dg.DagsterInstance, settings: Settings, max_duration_s: float = DEFAULT_MAX_DURATION_S
    ) -> None:
        self._instance, self._settings, self._home = instance, settings, dagster_home(settings)
        self._runs_before = cutoff(settings.retention.runs_days)
        self._ticks_before = cutoff(settings.retention.ticks_days)
        self._max_duration_s = max_duration_s

    def kinds(self) -> list[PruneTask]:
        """Return what is cleaned up, in order."""
        return [
            PruneTask("runs", self._delete_runs),
            PruneTask("run files", self._delete_stray_files),
            PruneTask("ticks", self._delete_ticks),
        ]

    def _delete_runs(self, report: PruneReport, dry_run: bool) -> None:
        deadline = time.monotonic() + self._max_duration_s
        files = _files_by_run(self._home)
        old = self._old_runs()
        reported = needed = 0
        for number, (run_id, ended) in enumerate(old):
            if time.monotonic() > deadline:
                report.notes.append(f"{len(old) - number} more old runs are left for the next clean-up.")
                break
            size_bytes = _size_bytes(files.get(run_id, ()))
            last = self._last_events(run_id)
            if last is None or not (dry_run or self._report_again(run_id, last)):
                needed += 1
                continue
            report.add(size_bytes, ended)
            reported += len(last)
            if not dry_run:
                self._instance.delete_run(run_id)
                _delete(_files_by_run(self._home, run_id).get(run_id, ()))
        if reported:
            report.notes.append(f"{reported} of their events were kept: partitions are green by them.")
        if needed:
            report.notes.append(f"{needed} old runs stay: failed partitions need them.")

    def delete_naming(self, traces: Traces, dry_run: bool) -> int:
        """Delete the finished runs whose events, config or tags identify a video.

        Events have been limited to hashes; those of earlier versions were not. The last events of each partition are
        reported again, without names.

        Returns:
            The number of runs.
        """
        files = _files_by_run(self._home)
        naming = []
        for run in self._instance.get_runs(dg.RunsFilter(statuses=_FINISHED)):
            events = (path for path in files.get(run.run_id, ()) if path.is_file())
            given = json.dumps([run.run_config, run.tags], default=str).encode()
            if traces.name(given) or any(traces.name(path.read_bytes()) for path in events):
                naming.append(run.run_id)
        for run_id in naming if not dry_run else ():
            self._report_again(run_id, self._last_events(run_id) or ())
            self._instance.delete_run(run_id)
            _delete(files.get(run_id, ()))
        for path in (self._home / "history").rglob("*.db") if naming and not dry_run else ():
            if not _RUN_ID.fullmatch(path.stem):  # deleted rows stay in SQLite's files until they are written anew
                with closing(sqlite3.connect(path, timeout=_PATIENCE_S)) as database:
                    database.execute("VACUUM")
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(naming)

    def _old_runs(self) -> list[tuple[str, float]]:
        """Return (id, end in seconds since 1970) of the runs that may go, oldest first.

        The last run of each job stays, and the run that ended last: SQLite would give the numbers of its events to new
        ones, and sensors that remember how far they have read would miss these.
        """
        before = datetime.fromtimestamp(self._runs_before, UTC)
        records = self._instance.get_run_records(dg.RunsFilter(statuses=_FINISHED, updated_before=before))
        jobs = {record.dagster_run.job_name for record in records}
        newest = [self._instance.get_run_records(dg.RunsFilter(job_name=job), limit=1) for job in jobs]
        newest.append(self._instance.get_run_records(limit=1, order_by="update_timestamp"))
        kept = {record.dagster_run.run_id for found in newest for record in found}
        backfills = unfinished_backfills(self._instance)
        old = []
        for record in records:
            run = record.dagster_run
            ended = record.end_time or record.update_timestamp.replace(tzinfo=UTC).timestamp()
            if ended < self._runs_before and run.run_id not in kept and run.tags.get(_BACKFILL_TAG) not in backfills:
                old.append((run.run_id, ended))
        return sorted(old, key=lambda run: run[1])

    def _last_events(self, run_id: str) -> list[dg.EventLogRecord] | None:
        """Return the run's events that are the latest of their partition, to be reported again before it is deleted.

        None means that a partition's state depends on the run itself.
        """
        found: list[dg.EventLogRecord] = []
        for asset, partitions in _partitions(self._records_of(run_id)).items():
            for chunk in chunked(partitions, _PAGE_SIZE):
                last = self._last_events_of(run_id, asset, chunk)
                if last is None:
                    return None
                found += last
        return [record for record in found if record.partition_key in self._existing]

    @cached_property
    def _existing(self) -> frozenset[str]:
        """The partitions that exist: events of removed videos go with their runs."""
        return frozenset(self._instance.get_dynamic_partitions(VIDEOS.name or ""))

    def _records_of(self, run_id: str) -> Iterator[dg.EventLogRecord]:
        cursor, more = None, True
        while more:
            page = self._instance.get_records_for_run(run_id, cursor, {_MADE, _OBSERVED, _PLANNED}, _PAGE_SIZE)
            yield from page.records
            cursor, more = page.cursor, page.has_more

    def _last_events_of(
        self, run_id: str, asset: dg.AssetKey, partitions: Sequence[str]
    ) -> list[dg.EventLogRecord] | None:
        """As `_last_events`, for some partitions of one asset."""
        made, observed, planned = (
            self._instance.get_latest_storage_id_by_partition(asset, kind, set(partitions))
            for kind in (_MADE, _OBSERVED, _PLANNED)
        )
        in_force = dg.AssetRecordsFilter(asset, storage_ids=list(made.values()))
        results = self._instance.fetch_materializations(in_force, limit=_PAGE_SIZE).records if made else ()
        own = {record.partition_key: record for record in results if record.run_id == run_id}
        for partition in partitions:
            if planned.get(partition, 0) > made.get(partition, 0):
                info = self._instance.get_latest_planned_materialization_info(asset, partition)
                planner = self._instance.get_run_by_id(info.run_id) if info is not None else None
                if planner is None or planner.status in _HARMLESS:
                    continue
                if planner.run_id == run_id or partition in own:
                    return None
        last = list(own.values())
        # An observation older than the result explains an earlier failure, or nothing any more.
        newer = [event_id for partition, event_id in observed.items() if event_id > made.get(partition, 0)]
        if newer:
            in_force = dg.AssetRecordsFilter(asset, storage_ids=newer)
            observations = self._instance.fetch_observations(in_force, limit=_PAGE_SIZE).records
            last += [record for record in observations if record.run_id == run_id]
        return last

    def _report_again(self, run_id: str, records: Sequence[dg.EventLogRecord]) -> bool:
        """Report the run's last events outside it. Returns False if another run has made them needed meanwhile."""
        for asset, partitions in _partitions(records).items():
            for chunk in chunked(partitions, _CHUNK_SIZE):
                last = self._last_events_of(run_id, asset, chunk)  # again, since other runs may have added events
                if last is None:
                    return False
                for record in sorted(last, key=lambda record: record.storage_id):
                    event = record.asset_materialization or record.asset_observation
                    if event is not None:
                        again = rereported(event, record.timestamp, self._settings)
                        self._instance.report_runless_asset_event(again)
        return True

    def _delete_stray_files(self, report: PruneReport, dry_run: bool) -> None:
        for run_id, paths in _files_by_run(self._home).items():
            written_at = max((_stat(file)[1] for file in _files_below(paths)), default=0.0)
            if written_at < self._runs_before and not self._instance.has_run(run_id):
                report.add(_size_bytes(paths), written_at)
                if not dry_run:
                    _delete(paths)

    def _delete_ticks(self, report: PruneReport, dry_run: bool) -> None:
        """Keep the last tick of each sensor and schedule, from which a schedule continues."""
        for state in self._instance.all_instigator_state():
            ids = (state.instigator_origin_id, state.selector_id)
            newest = self._instance.get_ticks(*ids, limit=1)
            before = min([self._ticks_before, *(tick.timestamp for tick in newest)])
            ticks = self._instance.get_ticks(*ids, before=before)
            if ticks:
                report.add(0, min(tick.timestamp for tick in ticks), len(ticks))
                if not dry_run:
                    self._instance.purge_ticks(*ids, before)


def _partitions(records: Iterable[dg.EventLogRecord]) -> dict[dg.AssetKey, dict[str, None]]:
    """Return asset -> the partitions that `records` are about, each once, in order."""
    found: dict[dg.AssetKey, dict[str, None]] = {}
    for record in records:
        if record.asset_key is not None and record.partition_key is not None:
            found.setdefault(record.asset_key, {})[record.partition_key] = None
    return found


def _files_by_run(home: Path, run_id: str = "") -> dict[str, list[Path]]:
    """Return the event log and the captured output of each run.

    Args:
        home: DAGSTER_HOME.
        run_id: Only those of this run, if given.
    """
    found: dict[str, list[Path]] = {}
    for folder in (home / "storage", home / "history" / "runs"):
        for path in sorted(folder.glob(f"{run_id}*")):
            name = path.name.partition(".")[0]
            if _RUN_ID.fullmatch(name) and not path.is_symlink():
                found.setdefault(name, []).append(path)
    return found


def _files_below(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        for file in path.rglob("*") if path.is_dir() else [path]:
            # SQLite's index in shared memory (-shm) comes and goes with each reader.
            if not file.name.endswith("-shm") and not file.is_symlink() and file.is_file():
                yield file


def _size_bytes(paths: Sequence[Path]) -> int:
    return sum(_stat(file)[0] for file in _files_below(paths))


def _stat(file: Path) -> tuple[int, float]:
    """Return (bytes, modification time); a file that has just been deleted was in use until now."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return 0, time.time()
    return stat.st_size, stat.st_mtime


def _delete(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
