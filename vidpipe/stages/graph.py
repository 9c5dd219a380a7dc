"""The stages as a graph: their order, and which stage reads what."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from vidpipe.errors import UnavailableError
from vidpipe.stages.contract import INGEST, FieldRead, Stage, StageResult
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe.stages.versions import UNVERSIONED, Inputs, fingerprint

#: The spec of a result that a person or a budget decides about (see `StageGraph.outdated`).
ANALYSES_CHANGED = "analyses changed"


class StageGraph:
    """An ordered set of stages. Optional reads of stages that it lacks are left out.

    Args:
        stages: The stages.
        broken: Stages of plugins that cannot be used, and why. They are not part of the graph.

    Raises:
        ValueError: A stage reads an unknown or later stage, or an unknown field; or a name occurs twice.
    """

    #: Stages that videos may have results of, but that are not among its stages, and what they read.
    _disabled: Mapping[str, Sequence[str]] = MappingProxyType({})

    def __init__(self, stages: Iterable[Stage], broken: Mapping[str, UnavailableError] | None = None) -> None:
        self.broken = broken or {}
        self._stages: dict[str, Stage] = {}
        for stage in stages:
            if stage.name in self._stages or stage.name == INGEST:
                raise ValueError(f"two stages are called {stage.name}")
            known = tuple(name for name in stage.optional_reads if name.split(".")[0] in (INGEST, *self._stages))
            if known != stage.optional_reads:
                stage = replace(stage, optional_reads=known)  # noqa: PLW2901
            for read in map(FieldRead.parse, stage.all_reads):
                if read.stage != INGEST and read.stage not in self._stages:
                    raise ValueError(
                        f"{stage.name} reads {read.stage}.{read.field}, but no stage before it has that name"
                    )
                if read.field not in self.result_model(read.stage).model_fields:
                    raise ValueError(f"{stage.name} reads {read.stage}.{read.field}, which {read.stage} does not give")
            self._stages[stage.name] = stage
            maker = next((made for made in self if made.result.scene_fields), stage)
            scenes = {f"{maker.name}.{field}" for field in maker.result.scene_fields}
            if stage.result.scene_fields and stage is not maker and scenes.isdisjoint(stage.reads):
                raise ValueError(f"{stage.name} adds to scenes and so must read the scenes of {maker.name}")
        self._upstream = {stage.name: self._in_order(stage.reads) for stage in self}

    def with_disabled(self, known: Mapping[str, Sequence[str]]) -> "StageGraph":
        """Return the same stages, of which a change also makes stale what reads it among the other stages `known`.

        Args:
            known: Stage -> what it reads.
        """
        graph = copy(self)
        graph.__dict__.pop("_readers", None)
        graph._disabled = {name: reads for name, reads in known.items() if name not in self}
        return graph

    def __iter__(self) -> Iterator[Stage]:
        return iter(self._stages.values())

    def __getitem__(self, name: str) -> Stage:
        return self._stages[name]

    def __contains__(self, name: object) -> bool:
        return name in self._stages

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stages, in order."""
        return tuple(self._stages)

    def result_model(self, stage: str) -> type[StageResult]:
        """Return the model of a stage's result, or of the facts of ingest."""
        return IngestFacts if stage == INGEST else self._stages[stage].result

    def key(self, stage: str) -> str:
        """Return the key of a stage's result in the video's document."""
        return INGEST if stage == INGEST else self._stages[stage].key

    def place(self, read: FieldRead) -> tuple[str, str | None]:
        """Return where a field is stored in the video's document: the key, and the key therein if there is one."""
        model = self.result_model(read.stage)
        if not model.root:
            return self.key(read.stage), read.field
        return (self.key(read.stage) if read.field == next(iter(model.model_fields)) else read.field), None

    def stored(self, stage: str, result: StageResult) -> dict[str, Any]:
        """Return what the video's document holds of a result, by key: all but the fields in scenes' documents."""
        stored = result.model_dump(mode="python", exclude=set(type(result).scene_fields))
        if not type(result).root:
            return {self.key(stage): stored}
        first = next(iter(stored))
        return {self.key(stage): stored.pop(first)} | stored

    def makes_scenes(self, stage: str) -> bool:
        """Whether this stage creates the scenes; other stages with scene fields add to them."""
        return stage == next((made.name for made in self if made.result.scene_fields), None)

    def are_of_scenes(self, reads: Iterable[str]) -> bool:
        """Whether one of the fields `reads` is stored in the scenes' documents."""
        return not self._scene_fields.isdisjoint(reads)

    @cached_property
    def _scene_fields(self) -> frozenset[str]:
        return frozenset(f"{stage.name}.{field}" for stage in self for field in stage.result.scene_fields)

    def upstream(self, stage: str) -> tuple[str, ...]:
        """Return the stages, without ingest, that `stage` waits for, in order."""
        return self._upstream[stage]

    def sources(self, stage: str) -> tuple[str, ...]:
        """Return the stages, without ingest, whose fields `stage` reads, optionally or not, in order."""
        return self._in_order(self._stages[stage].all_reads)

    def _in_order(self, reads: Iterable[str]) -> tuple[str, ...]:
        read = {FieldRead.parse(name).stage for name in reads}
        return tuple(name for name in self._stages if name in read)

    def downstream(self, stage: str) -> tuple[str, ...]:
        """Return every stage that depends on `stage`, directly or not, in order."""
        reached = {stage}
        for other in self:
            if reached.intersection(self.sources(other.name)):
                reached.add(other.name)
        return tuple(name for name in self._stages if name in reached and name != stage)

    @cached_property
    def _readers(self) -> dict[tuple[str, str], tuple[str, ...]]:
        readers: dict[tuple[str, str], list[str]] = {}
        for name, reads in ({stage.name: stage.all_reads for stage in self} | dict(self._disabled)).items():
            for read in map(FieldRead.parse, reads):
                readers.setdefault((read.stage, read.field), []).append(name)
        return {key: tuple(names) for key, names in readers.items()}

    def readers(self, stage: str, fields: Iterable[str]) -> set[str]:
        """Return the stages that read one of `fields` of `stage`."""
        return {name for field in fields for name in self._readers.get((stage, field), ())}

    def outdated(self, stage: str, fields: Iterable[str]) -> dict[str, Any]:
        """Return what a change of `fields` of `stage` sets in the entries of their readers: "<reader>.<name>" -> value.

        They become stale, but costly ones that read only optionally what changed get another spec.
        """
        changed = {f"{stage}.{field}" for field in fields}
        values: dict[str, Any] = {}
        for name in sorted(self.readers(stage, fields)):
            reader = self._stages.get(name)
            waits = reader is not None and reader.costly and changed.isdisjoint(reader.reads)
            values[f"{name}.spec" if waits else f"{name}.stale"] = ANALYSES_CHANGED if waits else True
        return values

    def direct_downstream(self, stage: str) -> tuple[str, ...]:
        """Return the stages that wait for `stage`, in order."""
        return tuple(other.name for other in self if stage in self.upstream(other.name))

    def data_versions(self, stage: str, result: StageResult) -> dict[str, str]:
        """Return field -> data version of a result of `stage`, without unversioned fields and those not stored."""
        return {
            name: fingerprint(value)
            for name, field in type(result).model_fields.items()
            for value in (getattr(result, name),)
            if name not in type(result).unversioned and not (field.exclude_if and field.exclude_if(value))
        }

    def inputs(self, stage: str, entries: Mapping[str, Mapping[str, Any]]) -> Inputs:
        """Return the versions of all fields that `stage` reads, given the `stages.<name>` entries of a video."""
        inputs: Inputs = {}
        for source, fields in self._read_fields[stage].items():
            data = entries.get(source, {}).get("data") or {}
            inputs[source] = {name: data.get(name, "") if versioned else UNVERSIONED for name, versioned in fields}
        return inputs

    @cached_property
    def _read_fields(self) -> dict[str, dict[str, list[tuple[str, bool]]]]:
        """Stage -> stage it reads -> (field, whether it has a version), in declared order."""
        fields: dict[str, dict[str, list[tuple[str, bool]]]] = {}
        for stage in self:
            sources = fields.setdefault(stage.name, {})
            for read in map(FieldRead.parse, stage.all_reads):
                versioned = read.field not in self.result_model(read.stage).unversioned
                sources.setdefault(read.stage, []).append((read.field, versioned))
        return fields
