"""What Dagster is told of a run's videos: results, failures, and why a partition that was asked for has no result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData

from vidpipe.library.library import Library
from vidpipe.library.videos import read_result
from vidpipe.pipeline.event_storage import Color, colors
from vidpipe.pipeline.events import Record
from vidpipe.pipeline.metadata import materialization, observation
from vidpipe.pipeline.partitions import add_videos
from vidpipe.runner.plan import Plan
from vidpipe.stages.contract import StageError, StageEvent
from vidpipe.stages.versions import fingerprint

Document = dict[str, Any]

_BUSY = StageError("Another run works on this video.", "It is done when that run is; materialise again to see it here.")
_DISCARDED = StageError("Something it reads changed while it was worked on.", "It is due again; materialise it again.")
_NOT_MADE = ("failed", "blocked", "busy", "discarded")


@dataclass(frozen=True)
class Telling:
    """Turns the Runner's events into Dagster's. To be called with some of them, in order.

    partitioned: the run has partitions, and Dagster knows which. Each of them is told: a result that was current, so
                 that its partition is green, and why there is none. Without partitions only what is news is told:
                 another outcome, a result that Dagster does not show yet, a failure, announced so that it shows red.
    keep:        takes the materialisations instead of the event log, for a step that yields them itself
    """

    instance: dg.DagsterInstance
    library: Library
    plan: Plan
    run_id: str
    partitioned: bool
    keep: list[dg.AssetMaterialization] | None = None

    def __call__(self, events: list[StageEvent]) -> list[Record]:
        if not self.partitioned:
            events = [event for event in events if event.state in ("computed", "current", "failed")]
            shown = self._shown(events)
            events = [event for event in events if self._color(event, shown) != "green" or event.state == "failed"]
        stored = self._stored(events)
        if not self.partitioned:
            events = [event for event in events if not self._failed_before(event, shown, stored)]
            add_videos(self.instance, (event.sha256 for event in events))
        records: list[Record] = []
        for event in events:
            if event.state in _NOT_MADE:
                records += self._without_result(event, stored.get(event.sha256))
                continue
            into: list[Any] = records if self.keep is None else self.keep
            filled = self._with_result(event, stored.get(event.sha256))
            into.append(materialization(filled, self.plan.settings, self.plan.graph))
        return records

    def _shown(self, events: Sequence[StageEvent]) -> dict[str, dict[str, Color]]:
        """stage -> video -> how its partition is shown, as far as it matters."""
        asked: dict[str, list[str]] = {}
        for event in events:
            if not event.changed:
                asked.setdefault(event.stage, []).append(event.sha256)
        return {stage: colors(self.instance, dg.AssetKey(stage), ids) for stage, ids in asked.items()}

    @staticmethod
    def _color(event: StageEvent, shown: Mapping[str, Mapping[str, Color]]) -> Color | None:
        return None if event.changed else shown[event.stage].get(event.sha256)

    def _failed_before(
        self, event: StageEvent, shown: Mapping[str, Mapping[str, Color]], stored: Mapping[str, Document]
    ) -> bool:
        """Whether it is the failure of an earlier run that Dagster shows already."""
        entry = stored.get(event.sha256, {}).get("stages", {}).get(event.stage, {})
        earlier = event.state == "failed" and entry.get("run", self.run_id) != self.run_id
        return earlier and self._color(event, shown) == "red"

    def _stored(self, events: Sequence[StageEvent]) -> dict[str, Document]:
        """The documents, as far as they are needed, of videos whose event does not say all there is to tell."""
        graph = self.plan.graph
        short = [event for event in events if event.result is None]
        fields = {"ingest.names": 1}
        for stage in {event.stage for event in short if event.state not in _NOT_MADE}:
            fields |= {graph.key(stage): 1, f"stages.{stage}.data": 1}
        for name in graph.names if any(event.state in _NOT_MADE for event in short) else ():
            fields |= {f"stages.{name}.{field}": 1 for field in ("status", "error", "attempts", "next_try_at", "run")}
        ids = list({event.sha256 for event in short})
        find = self.library.collections["videos"].find
        rows = self.library.retry(lambda: list(find({"_id": {"$in": ids}}, fields))) if ids else []
        return {row["_id"]: row for row in rows}

    def _with_result(self, event: StageEvent, row: Document | None) -> StageEvent:
        """`event` with the stored result and version, where the run did not make them."""
        if event.result is not None or row is None:
            return event
        return replace(
            event,
            result=read_result(self.plan.graph, event.stage, row),
            data_version=fingerprint(row["stages"][event.stage].get("data") or {}),
            code_version=self.plan.graph[event.stage].code_version,
        )

    def _without_result(self, event: StageEvent, row: Document | None) -> Iterator[Record]:
        if not self.partitioned:
            yield AssetMaterializationPlannedData(dg.AssetKey(event.stage), partition=event.sha256)
        entries = (row or {}).get("stages", {})
        if event.state == "failed" and event.error is not None:
            entry = entries.get(event.stage, {})
            next_try_at = entry.get("next_try_at")
            yield observation(
                event,
                event.error,
                status=entry.get("status"),
                attempts=entry.get("attempts"),
                next_try=next_try_at and dg.MetadataValue.timestamp(next_try_at),
            )
            yield from self._held_up(event, event.error)
        elif event.state == "blocked":
            yield from self._blocked(event, entries)
        elif event.state == "busy":  # told once a video, by its first stage
            for stage in self.plan.stages:
                yield observation(replace(event, stage=stage.name), _BUSY)
        elif event.state == "discarded":
            yield observation(event, _DISCARDED)

    def _held_up(self, event: StageEvent, error: StageError) -> Iterator[Record]:
        """Why later stages, which nobody launches for this video now, have no result."""
        told_by_themselves = {stage.name for stage in self.plan.stages} if self.partitioned else set()
        for name in self.plan.graph.downstream(event.stage):
            if name not in told_by_themselves:
                yield observation(
                    replace(event, stage=name, state="blocked"), _waits_for(event.stage, error), waits_for=event.stage
                )

    def _blocked(self, event: StageEvent, entries: Mapping[str, Any]) -> Iterator[Record]:
        """Which of the stages before it is the one that is missing, and why."""
        graph = self.plan.graph
        before = [name for name in graph.names if event.stage in graph.downstream(name)]
        missing = [name for name in before if entries.get(name, {}).get("status") != "ok"]
        first = missing[0] if missing else ""
        fault = entries.get(first, {}).get("error")
        if fault:
            error = _waits_for(first, StageError(fault["message"], fault["hint"]))
        else:
            error = StageError(
                f"It waits for {first or 'an earlier stage'}, which has not run yet.",
                f"Materialise {first or 'the earlier stages'} of this video first.",
            )
        yield observation(event, error, waits_for=first)


def _waits_for(stage: str, fault: StageError) -> StageError:
    return StageError(f"It waits for {stage}, which failed: {fault.message}", fault.hint)
