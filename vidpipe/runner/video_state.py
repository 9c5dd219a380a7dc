"""One video in a run: what is stored of it, and what this run has added."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from vidpipe.library.commits import Commit, PreparedCommit, prepare
from vidpipe.library.media_places import PLACE
from vidpipe.library.schema import Document, new_entry
from vidpipe.library.states import State, classify
from vidpipe.library.videos import name_of, read_fields, read_result
from vidpipe.stages.contract import INGEST, FieldRead, Item, Outcome, Stage, StageError, StageResult
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.versions import Inputs
from vidpipe.storage.object_store import DROPPED


@dataclass(frozen=True)
class RunStamp:
    """The id and start of a run, stored with its commits."""

    id: str
    began: datetime


class VideoState:
    """The state of one video within a run.

    Args:
        document: The fields of the video's document that the run's stages read.
        graph: All stages.
        load_scenes: Fetches the scenes of a generation; called only if a stage reads them.

    Attributes:
        done: Stages that this run has finished for this video.
        dropped: Its file was deleted on purpose after processing.
        refetched: This run fetches that file again.
        lease: Token of the lease under which the document was read.
    """

    def __init__(
        self,
        document: Document,
        graph: StageGraph,
        load_scenes: Callable[[str, str], Sequence[Document]] = lambda sha256, generation: (),
    ) -> None:
        self.sha256: str = document["_id"]
        self.name = name_of(document)
        self.generation: str | None = document.get("scene_generation")
        self.entries: dict[str, Document] = document["stages"]
        for stage in graph:
            # the process that added the video may have had the analysis disabled
            if stage.optional and "status" not in self.entries.get(stage.name, {}):
                self.entries[stage.name] = {**new_entry(graph, stage.name), "ready": self._is_ready(graph, stage.name)}
        self.dropped: bool = (document.get(PLACE) or {}).get("media") == DROPPED
        self.refetched = False
        self.lease: str = document.get("lease", {}).get("token", "")
        self._document = document
        self._graph = graph
        self._load_scenes = load_scenes
        self._scenes: Sequence[Document] | None = None
        self._made: dict[str, StageResult] = {}
        self._stored: dict[str, StageResult | None] = {}
        self._inputs: dict[str, Inputs] = {}
        self.done: set[str] = set()

    def state(self, stage: Stage, spec: str) -> State:
        """Return the state of the stage's result, given today's spec."""
        return classify(self.entries[stage.name], spec)

    def inputs(self, stage: Stage) -> Inputs:
        """Return today's data versions of the fields that `stage` reads."""
        if stage.name not in self._inputs:
            self._inputs[stage.name] = self._graph.inputs(stage.name, self.entries)
        return self._inputs[stage.name]

    @property
    def has_judged_scenes(self) -> bool:
        """Whether people said something of its scenes."""
        verdicts = self._document.get(INGEST, {}).get("verdicts") or ()
        return any(one.get("start_s") is not None for one in verdicts)

    def item(self, stage: Stage, reads: tuple[str, ...] | None = None) -> Item:
        """Return what the stage's function gets for this video: values that this run has made, and stored ones.

        Args:
            stage: The stage.
            reads: Those of its reads that it looks at; None: all.
        """
        reads = stage.all_reads if reads is None else reads
        if self._graph.are_of_scenes(reads):
            self._scenes = self._stored_scenes()
        made = {}
        for name in reads if self._made else ():
            read = FieldRead.parse(name)
            if read.stage in self._made:
                made[name] = getattr(self._made[read.stage], read.field)
        stored = tuple(name for name in reads if name not in made) if made else reads
        fields = made | read_fields(self._graph, stored, self._document, self._scenes or (), stage.optional_reads)
        previous = self.result(stage) if stage.reads_previous else None
        return Item(self.sha256, fields, self.inputs(stage), previous)

    def result(self, stage: Stage) -> StageResult | None:
        """Return the stage's last good result, or None without one of today's shape. Its scene fields may be empty."""
        if stage.name not in self._made and stage.name not in self._stored:
            self._stored[stage.name] = read_result(self._graph, stage.name, self._document)
        return self._made.get(stage.name) or self._stored[stage.name]

    def stored_error(self, stage: Stage) -> StageError | None:
        """Return the error of the stage's last attempt, if it failed."""
        error = self.entries[stage.name].get("error")
        return StageError(error["message"], error["hint"], transient=error["transient"]) if error else None

    def came_back(self, stage: Stage, spec: str) -> bool:
        """Whether a result marked as stale was made from exactly today's spec and inputs."""
        entry = self.entries[stage.name]
        adds_to_scenes = stage.result.scene_fields and not self._graph.makes_scenes(stage.name)
        if adds_to_scenes and entry.get("generation") != self.generation:
            return False  # the scenes that held its part of the result have been replaced
        return (
            entry.get("status") == "ok"
            and bool(entry.get("stale"))
            and entry.get("spec") == spec
            and entry.get("inputs") == self.inputs(stage)
        )

    def is_of_later_run(self, stage: Stage, spec: str, run: RunStamp) -> bool:
        """Whether a run that began after `run`, under other settings, has committed this stage: it takes precedence."""
        entry = self.entries[stage.name]
        return entry.get("spec") != spec and "run_began" in entry and entry["run_began"] > run.began

    def prepare(
        self,
        stage: Stage,
        spec: str,
        run: RunStamp,
        outcome: Outcome | None,
        seconds: float,
        *,
        quarantined: bool = False,
    ) -> PreparedCommit:
        """Prepare the commit of an outcome (None: the old result is current).

        This state continues as if the commit were stored; if it is refused later, so are those built on it.
        """
        commit = Commit(
            sha256=self.sha256,
            stage=stage.name,
            spec=spec,
            inputs=self.inputs(stage),
            entry=self.entries[stage.name],
            run_id=run.id,
            run_began=run.began,
            seconds=seconds,
            result=outcome.result if outcome else None,
            error=outcome.error if outcome else None,
            lineage=outcome.lineage if outcome else (),
            generation=self.generation,
            quarantined=quarantined,
            lease=self.lease,
        )
        prepared = prepare(commit, self._graph)
        if prepared.scene_rows:  # the new generation is not stored yet; what it keeps is in the one before
            self._scenes = () if self._graph.makes_scenes(stage.name) else self._stored_scenes()
        self.entries[stage.name] = prepared.entry
        self._inputs.clear()
        self.generation = prepared.generation
        self.done.add(stage.name)
        if commit.result is not None:
            self._made[stage.name] = commit.result
        for place, value in self._graph.outdated(stage.name, prepared.changed).items():
            reader, _, name = place.partition(".")
            self.entries[reader] = {**self.entries[reader], name: value}
        for name in self._graph.direct_downstream(stage.name):
            self.entries[name] = {**self.entries[name], "ready": self._is_ready(self._graph, name)}
        return prepared

    def _stored_scenes(self) -> Sequence[Document]:
        if self._scenes is not None:
            return self._scenes
        return self._load_scenes(self.sha256, self.generation) if self.generation else ()

    def _is_ready(self, graph: StageGraph, stage: str) -> bool:
        return all(self.entries[upstream].get("status") == "ok" for upstream in graph.upstream(stage))
