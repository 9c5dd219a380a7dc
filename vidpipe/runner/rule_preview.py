"""What changed rules would do to the whole library, before they are applied.

Results are computed by the code that applies them, and compared with those stored. Nothing is written and no model is
called.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from pymongo.collection import Collection

from vidpipe.library import server_clock
from vidpipe.library.changes import ChangeState
from vidpipe.library.library import Library
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked, projection
from vidpipe.runner.plan import Plan
from vidpipe.runner.rule_delta import RuleDelta, with_scenes
from vidpipe.runner.video_state import RunStamp, VideoState
from vidpipe.stages.contract import StageError
from vidpipe.text.words import tag_key

#: The stages that rules decide.
RULE_STAGES = ("tags", "categories")
_MOST_EXAMPLES = 5


@dataclass
class NameChange:
    """What happens to one tag or category.

    Attributes:
        name: The tag or category.
        gain: Videos that get it.
        lose: Videos that lose it.
        videos: Videos that have it afterwards.
        gaining: Some that get it.
        losing: Some that lose it.
    """

    name: str
    gain: int = 0
    lose: int = 0
    videos: int = 0
    gaining: list[str] = field(default_factory=list)
    losing: list[str] = field(default_factory=list)


@dataclass
class RulePreview:
    """What the rules of a plan would change.

    Attributes:
        at: How far the library had changed when it was read.
        versions: Stage -> version of its rules under the plan.
        compared: Videos whose outcome was computed.
        changed: Videos with another outcome.
        waiting: Videos that were left out, because other work is due first.
        tags: By tag key: what happens to each tag that changes or stays.
        categories: Likewise for categories.
        given: Rule -> number of tags that it gives afterwards.
        given_before: Likewise, now.
    """

    at: ChangeState
    versions: dict[str, str]
    compared: int = 0
    changed: int = 0
    waiting: int = 0
    tags: dict[str, NameChange] = field(default_factory=dict)
    categories: dict[str, NameChange] = field(default_factory=dict)
    given: Counter[str] = field(default_factory=Counter)
    given_before: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(
        cls,
        library: Library,
        plan: Plan,
        cancelled: Event | None = None,
        seen: Callable[[int], None] = lambda count: None,
    ) -> "RulePreview":
        """Return what the plan, made with the changed rules, would do.

        Args:
            library: The library.
            plan: A plan of `RULE_STAGES`.
            cancelled: Stops it; the preview is incomplete then.
            seen: Called with a number of videos when these were seen.
        """
        versions = {name: plan.resources[name].version for name in ("custom_tags", "categories")}
        preview = cls(library.changes.state(), versions)
        preview._count_all(library.collections["videos"])
        delta = RuleDelta.of(library, plan)
        ids = (row["_id"] for row in library.collections["videos"].find({}, {"_id": 1}).sort("_id", 1))
        for chunk in chunked(ids):
            if cancelled and cancelled.is_set():
                break
            same = delta.unchanged(chunk) if delta else set()
            preview.compared += len(same)
            for state in _states(library, plan, [sha256 for sha256 in chunk if sha256 not in same]):
                preview._add(library, plan, state)
            seen(len(chunk))
        return preview

    def _count_all(self, videos: Collection[Document]) -> None:
        """Count what there is now, in the server: few videos change."""
        given = {"_id": {"rule": "$tags.rule", "tag": "$tags.tag"}, "count": {"$sum": 1}}
        for row in videos.aggregate([{"$unwind": "$tags"}, {"$group": given}, {"$sort": {"_id": 1}}]):
            tag = row["_id"]["tag"]
            self.tags.setdefault(tag_key(tag), NameChange(tag)).videos += row["count"]
            self.given_before[row["_id"]["rule"]] += row["count"]
        self.given.update(self.given_before)
        grouped = videos.aggregate([{"$match": {"category": {"$ne": None}}}, {"$sortByCount": "$category.category"}])
        self.categories.update((row["_id"], NameChange(row["_id"], videos=row["count"])) for row in grouped)

    def _add(self, library: Library, plan: Plan, state: VideoState) -> None:
        before: dict[str, Any] = {stage.name: state.result(stage) for stage in plan.stages}
        if any(result is None or state.entries[name]["stale"] for name, result in before.items()):
            self.waiting += 1
            return
        after: dict[str, Any] = {}
        for stage in plan.stages:
            context = plan.context_of(stage, library)
            (outcome,) = stage.function([plan.item(stage, state)], context)
            if isinstance(outcome.error, StageError):
                self.waiting += 1
                return
            after[stage.name] = outcome.result
            state.prepare(stage, plan.specs[stage.name], RunStamp("", server_clock.now()), outcome, 0.0)
        self.compared += 1
        self.changed += before != after
        if "tags" in after:
            old, new = before["tags"].tags, after["tags"].tags
            self.given.update(tag.rule for tag in new)
            self.given.subtract(tag.rule for tag in old)
            _compare(self.tags, state.sha256, *({tag_key(tag.tag): tag.tag for tag in tags} for tags in (old, new)))
        if "categories" in after:
            both = ({made["categories"].category: made["categories"].category} for made in (before, after))
            _compare(self.categories, state.sha256, *both)


def _compare(changes: dict[str, NameChange], sha256: str, old: dict[str, str], new: dict[str, str]) -> None:
    for key, name in (old | new).items():
        change = changes.setdefault(key, NameChange(name))
        change.videos += (key in new) - (key in old)
        if (key in new) is (key in old):
            continue
        examples = change.gaining if key in new else change.losing
        change.gain += key in new
        change.lose += key in old
        if len(examples) < _MOST_EXAMPLES:
            examples.append(sha256)


def _states(library: Library, plan: Plan, ids: Sequence[str]) -> list[VideoState]:
    reads = [read for stage in plan.stages for read in plan.looked_at(stage)]
    fields = projection(plan.graph, reads, [stage.name for stage in plan.stages])
    found = library.collections["videos"].find({"_id": {"$in": ids}}, fields).sort("_id", 1) if ids else ()
    return with_scenes(library, plan, list(found))
