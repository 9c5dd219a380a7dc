"""Finds the videos whose tags stay the same after a change of rules, by the rules that changed alone.

The rules that a result was made with are in the lineage. If nothing else has changed since, only tags that the changed
rules decide about can differ, so only these rules are evaluated, and only what they look at is fetched.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidpipe.errors import SettingsError
from vidpipe.library.library import Library
from vidpipe.library.provenance import spec_difference
from vidpipe.library.schema import UNLEASED, Document
from vidpipe.library.states import CLASSIFIED_BY, due_branches
from vidpipe.library.videos import projection
from vidpipe.runner.plan import Plan
from vidpipe.runner.video_state import VideoState
from vidpipe.stages.analyses.declaration import NO_ANALYSES
from vidpipe.stages.contract import FieldRead, Stage
from vidpipe.stages.results import Tags
from vidpipe.stages.versions import spec_parts
from vidpipe.tagging.changed_rules import ChangedRules
from vidpipe.tagging.rules import parse_rules
from vidpipe.text.words import tag_key

_RULES = "custom_tags"
#: The fields that decide the state of a stage, and its error.
_STATE_FIELDS = (*CLASSIFIED_BY, "error")


@dataclass(frozen=True)
class RuleDelta:
    """A change of rules since some videos were tagged.

    Attributes:
        library: The library.
        plan: The plan, with the rules that the change concerns instead of all.
        stage: The stage that applies rules.
        former: Its spec of these videos.
        keys: Keys of the tags that may differ.
    """

    library: Library
    plan: Plan
    stage: Stage
    former: str
    keys: frozenset[str]

    @classmethod
    def of(cls, library: Library, plan: Plan) -> "RuleDelta | None":
        """Return the change since some video was tagged; None: there is none, or more than rules has changed."""
        stage = next((stage for stage in plan.stages if _RULES in stage.resources and stage.result is Tags), None)
        if stage is None:
            return None
        waits = {"$or": due_branches(stage.name, plan.specs[stage.name], reasons=["spec"])}
        due = library.collections["videos"].find_one(waits, {f"stages.{stage.name}.spec": 1})
        former = due["stages"][stage.name]["spec"] if due else ""
        changed = spec_difference(
            library.collections["lineage"], former, spec_parts(stage, plan.settings, plan.resources)
        )
        if changed.keys() != {f"resources.{_RULES}"}:
            return None
        (version,) = changed.values()
        stored = library.collections["lineage"].find_one({"_id": f"text:{version}"}) or {"text": ""}
        try:
            rules = parse_rules(stored["text"], vocabulary=plan.resources.get("analyses", NO_ANALYSES).vocabulary)
        except SettingsError:
            return None
        concerned = ChangedRules.between(rules, plan.resources[_RULES]) if rules.version == version else None
        if concerned is None:
            return None
        part = replace(plan, resources={**plan.resources, _RULES: concerned.rules})
        return cls(library, part, replace(stage, reads_previous=False), former, concerned.keys)

    def fetch(self, ids: Sequence[str]) -> list[Document]:
        """Fetch what is looked at of those of `ids` in which nothing else can have changed."""
        own = f"stages.{self.stage.name}"
        query = {"_id": {"$in": list(ids)}, f"{own}.status": "ok", f"{own}.spec": self.former, **UNLEASED}
        for stage in self.plan.stages:
            if stage.quick:
                query |= {f"stages.{stage.name}.stale": False, f"stages.{stage.name}.ready": True}
                query |= {} if stage.name == self.stage.name else {
                    f"stages.{stage.name}.status": "ok", f"stages.{stage.name}.spec": self.plan.specs[stage.name]
                }  # fmt: skip
        fields = state_projection(self.plan, [self.stage])
        return self.library.retry(lambda: list(self.library.collections["videos"].find(query, fields, hint="_id_")))

    def unchanged(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` whose tags stay the same; of those left out, nothing is known."""
        try:
            return self.same(with_scenes(self.library, self.plan, self.fetch(ids)))
        except Exception:  # a stored result of another shape: each video is tried by itself
            return set()

    def same(self, states: Sequence[VideoState]) -> set[str]:
        """Return the ids of those videos whose tags stay the same."""
        context = self.plan.context_of(self.stage, self.library)
        by_id = {state.sha256: state for state in states if is_of_todays_inputs(state, self.stage)}
        outcomes = self.stage.function([self.plan.item(self.stage, state) for state in by_id.values()], context)
        return {
            outcome.sha256
            for outcome in outcomes
            if self._concerned(outcome.result) == self._concerned(by_id[outcome.sha256].result(self.stage))
        }

    def _concerned(self, result: Any) -> Any:
        """Return those of the tags that may differ."""
        if not isinstance(result, Tags):
            return None
        return [[tag for tag in tags if tag_key(tag.tag) in self.keys] for tags in (result.tags, result.scene_tags)]


def is_of_todays_inputs(state: VideoState, stage: Stage) -> bool:
    """Return whether the stored result has today's shape and was made from today's values of all fields read."""
    entry = state.entries[stage.name]
    versioned = stage.result.model_fields.keys() - stage.result.unversioned
    return bool(entry["inputs"] == state.inputs(stage) and entry["data"].keys() == versioned)


def state_projection(plan: Plan, stages: Sequence[Stage]) -> Document:
    """Return the projection of what `stages` look at, their results, and of other stages what decides their state."""
    own = {stage.name for stage in stages}
    fields: Document = projection(plan.graph, (read for stage in stages for read in plan.looked_at(stage)), own)
    del fields["stages"]
    fields.update({f"stages.{name}": 1 for name in own})
    for name in {FieldRead.parse(read).stage for stage in stages for read in stage.all_reads} - own:
        fields[f"stages.{name}.data"] = 1
    for stage in plan.stages:
        if stage.name not in own:
            fields.update({f"stages.{stage.name}.{name}": 1 for name in _STATE_FIELDS})
    return fields


def with_scenes(library: Library, plan: Plan, documents: Sequence[Document]) -> list[VideoState]:
    """Return the states of videos; if scenes of one of them are looked at, those of all are fetched together."""
    generations = {one["_id"]: one["scene_generation"] for one in documents if one.get("scene_generation")}
    found: dict[str, list[Document]] = {}

    def load(sha256: str, generation: str) -> Sequence[Document]:
        if not found:
            found.update(library.retry(lambda: library.videos.scenes_of(generations)))
        return found[sha256]

    return [VideoState(document, plan.graph, load) for document in documents]
