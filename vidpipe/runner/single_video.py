"""One video through the stages, without a library: the report is all that remains of it."""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from vidpipe.library.annotations import facts_of
from vidpipe.library.queries.json_encoding import to_json
from vidpipe.library.queries.show import shown_source, view_of
from vidpipe.library.schema import Document, new_entry
from vidpipe.library.videos import name_of, read_fields
from vidpipe.runner.plan import Plan
from vidpipe.runner.threads import named, unexpected
from vidpipe.settings import Settings
from vidpipe.sources.ingest import Ingest
from vidpipe.sources.records import IngestOutcome
from vidpipe.sources.source_request import request_for
from vidpipe.stages.contract import INGEST, FieldRead, Item, Stage, StageError
from vidpipe.stages.events import Observer, StageEvent
from vidpipe.stages.graph import StageGraph

#: A `SourceStore` that knows and keeps nothing.
_NO_SOURCES: Any = SimpleNamespace(
    get_many=lambda ids: {}, save=lambda *_: None, forgotten=lambda *_, **__: None, record_stored=lambda *_: None
)
#: Keys of a `view` with what stages say about scenes.
_OF_SCENES = {"scenes", "scene_summary", "thumbnails", "damage"}


def inspect_video(
    source: str, settings: Settings, graph: StageGraph, observer: Observer, *, cancelled: threading.Event,
    stages: Sequence[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Take one file or URL through the stages.

    Args:
        source: A file, which is read where it is, or a URL.
        settings: Loaded for work without a library (see `vidpipe.settings.load`).
        graph: All stages.
        observer: Follows the stages.
        cancelled: Set it to stop.
        stages: Those whose results are wanted; what they read is computed, too. None: all.

    Returns:
        As JSON values: what was asked for of a `vidpipe.library.queries.show.view`, in which paths of temporary files
        are null; and `errors`: stage -> `message`, `hint` and, of one that was tried, `transient`.

    Raises:
        StageError: There is no video at the source; `transient` says whether another attempt may succeed.
        VidpipeError: The source is neither a file nor a URL, or there is no stage of one of these names.
        KeyboardInterrupt: `cancelled` was set.
    """
    needed = set(stages or (*graph.names, *graph.broken))
    for stage in reversed([*graph]):
        needed |= {*graph.sources(stage.name)} if stage.name in needed else set()
    plan = Plan.make(graph, settings, needed)
    try:
        (got,) = Ingest(settings, _NO_SOURCES, cancelled=cancelled).run([request_for(source, mode="reference")])
        video = _InMemory(plan, got, cancelled, observer)
        for stage in plan.stages:
            video.compute(stage)
    finally:
        plan.close()
    view = video.view()
    keys = {"video", "sources", "stages"} if stages else {*view}
    for stage in (graph[name] for name in stages or () if name in graph):
        keys |= {graph.place(FieldRead(stage.name, name))[0] for name in stage.result.model_fields}
        keys |= _OF_SCENES if stage.result.scene_fields else set()
    missing = plan.unavailable if stages else plan.problems
    errors = {name: problem.as_json() for name, problem in missing.items()} | video.errors
    return {name: value for name, value in view.items() if name in keys} | {"errors": errors}


class _InMemory:
    """A video's document and scenes.

    Attributes:
        errors: Stage -> its error.
    """

    def __init__(self, plan: Plan, got: IngestOutcome, cancelled: threading.Event, observer: Observer) -> None:
        if got.source is None or got.stored is None:
            raise StageError(got.error, transient=got.transient) if got.error else KeyboardInterrupt
        self.errors: dict[str, Any] = {}
        self._plan, self._graph, self._cancelled, self._observer = plan, plan.graph, cancelled, observer
        facts, self._source = facts_of(got.source, got.stored), shown_source(got.source)
        self._entries: Document = {stage.name: new_entry(plan.graph, stage.name) for stage in plan.graph}
        self._entries[INGEST] = {"status": "ok", "data": plan.graph.data_versions(INGEST, facts)}
        ingested = {"_id": got.stored.sha256, "added_at": datetime.now(UTC), INGEST: facts.model_dump()}
        self._document: Document = ingested | {"stages": self._entries}
        self._scenes: dict[int, Document] = {}

    def compute(self, stage: Stage) -> None:
        """Call the stage's function and keep its result or error, unless a stage that it waits for has none."""
        if any(self._entries[name]["status"] != "ok" for name in self._graph.upstream(stage.name)):
            return
        entry, began_s = self._entries[stage.name], time.monotonic()
        event = StageEvent(self._document["_id"], stage.name, "started", name_of(self._document))
        self._observer.on_event(event)
        try:
            error = self._result_of(stage)
        except Exception as fault:
            error = unexpected(fault)
        if self._cancelled.is_set():
            raise KeyboardInterrupt
        if error:
            error = named(error, event.name, event.sha256, stage.name)
            said = {"message": error.message, "hint": error.hint, "transient": error.transient}
            entry |= {"status": "failed", "error": said}
            self.errors[stage.name] = said
        entry |= {"spec": self._plan.specs[stage.name], "seconds": time.monotonic() - began_s}
        self._observer.on_event(replace(event, state="failed" if error else "computed", error=error))

    def _result_of(self, stage: Stage) -> StageError | None:
        def progress(sha256: str, share: float) -> None:
            self._observer.on_progress(sha256, stage.name, share)

        context = self._plan.context_of(stage, None, "", self._cancelled, progress)
        reads, scenes = self._plan.looked_at(stage), [*self._scenes.values()]
        fields = read_fields(self._graph, reads, self._document, scenes, stage.optional_reads)
        item = Item(self._document["_id"], fields, self._graph.inputs(stage.name, self._entries))
        (outcome,) = stage.function([item], context)
        if (result := outcome.result) is not None:
            self._entries[stage.name] |= {"status": "ok", "data": self._graph.data_versions(stage.name, result)}
            self._document |= self._graph.stored(stage.name, result)
            for row in (row for name in type(result).scene_fields for row in getattr(result, name)):
                self._scenes.setdefault(row.index, {}).update(row.model_dump())
        return outcome.error

    def view(self) -> Any:
        """Return the view of the video as JSON values."""
        folder = f"{self._plan.settings.media_directory.parent}/"
        view = view_of(self._graph, self._document, [*self._scenes.values()], [self._source], self._plan.specs)
        # temporary files are gone when it is read
        return json.loads(
            to_json(view),
            object_hook=lambda found: {
                name: None if str(value).startswith((folder, f"['{folder}")) else value for name, value in found.items()
            },
        )
