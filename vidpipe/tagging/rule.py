"""A tag rule: its selections, the condition that combines them, and what it does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from vidpipe.tagging.block import MAX_SHOWN, Block
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.field_conditions import ValueBlock, parse_field_condition, used_fields
from vidpipe.tagging.fields import Vocabulary
from vidpipe.tagging.logic import (
    AtLeast,
    Negation,
    RuleSelection,
    Statement,
    Truth,
    all_of,
    any_of,
    parse_condition_text,
)
from vidpipe.tagging.validation import RulesFileModel, Text, Texts, as_list, checked
from vidpipe.text.words import tag_key

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,79}$")]
SelectionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,79}$")]
SelectionSource = Annotated[list[dict[str, Any]], BeforeValidator(as_list)]
Scope = Literal["video", "scene"]
Status = Literal["experimental", "stable"]


class RuleTest(RulesFileModel):
    """An example in a rules file: a video of the library or made-up facts, and the tags that the rule must give."""

    video: Text | None = None
    facts: dict[str, Any] | None = None
    expect: Texts


class HoldSource(RulesFileModel):
    """When the matching scenes give the video the tags.

    Attributes:
        share: Least share of the running time that matches, 0 to 1.
        count: Fewest scenes that match.
        then: Two selections: a scene with the first must be followed by a scene with the second.
        within_s: Most seconds from the start of the first to the start of the second.
    """

    share: float | None = Field(None, alias="share|gte", ge=0, le=1)
    count: int | None = Field(None, alias="count|gte", ge=1)
    then: tuple[SelectionName, SelectionName] | None = Field(None, strict=False)
    within_s: float | None = Field(None, gt=0, allow_inf_nan=False)


class NamedSelections(RulesFileModel):
    """What rules of the full form and exclusions have in common."""

    selections: dict[SelectionName, SelectionSource] = Field(min_length=1, max_length=100)
    condition: str = ""

    def term(self, vocabulary: Vocabulary) -> tuple[dict[str, RuleSelection], Statement]:
        """Return the selections and the condition. Raises ValueError with a message for the user."""
        selections = {name: _selection(name, groups, vocabulary) for name, groups in self.selections.items()}
        return selections, parse_condition_text(self.condition or self.default_condition, selections)

    @property
    def default_condition(self) -> str:
        """The condition of a rule that states none."""
        return "all of them"


class FullRuleSource(NamedSelections):
    """One rule of the full form, as in the file."""

    id: Identifier
    title: Text = ""
    formerly: Texts = Field(default=[])
    status: Status = "experimental"
    scope: Scope = "video"
    hold: HoldSource | None = None
    tags: Texts = Field(default=[])
    remove: Texts = Field(default=[])
    priority: int = Field(0, ge=-1000, le=1000)
    facet: bool = False
    enabled: bool = True
    tests: list[RuleTest] = Field(default=[])

    @property
    def default_condition(self) -> str:
        """With `then`, scenes of either kind are tagged."""
        return "1 of them" if self.hold and self.hold.then else "all of them"


class ExclusionSource(NamedSelections):
    """Videos or scenes to which rules do not apply.

    Attributes:
        rules: Ids of the rules; `*` is any text.
    """

    rules: Texts = Field(min_length=1)


def _selection(name: str, groups: Sequence[Mapping[str, Any]], vocabulary: Vocabulary) -> RuleSelection:
    if not groups or not all(groups):
        raise ValueError(f'the selection "{name}" is empty')
    terms = [
        all_of([parse_field_condition(key, value, vocabulary) for key, value in group.items()]) for group in groups
    ]
    return RuleSelection(name, any_of(terms))


@dataclass(frozen=True)
class Hold:
    """When the scenes that match give the video the tags; see `HoldSource`."""

    share: float = 0.0
    count: int = 1
    then: tuple[Statement, Statement] | None = None
    within_s: float = float("inf")

    def truth(self, scenes: Sequence[RuleFacts], truths: Sequence[Truth]) -> Truth:
        """Return whether enough of the scenes match, given whether each one does; None: it depends on unknown ones."""
        if self.then is not None:
            return self._follows(scenes, self.then)
        if self._enough(scenes, [truth is True for truth in truths]):
            return True
        return None if self._enough(scenes, [truth is not False for truth in truths]) else False

    def _enough(self, scenes: Sequence[RuleFacts], chosen: Sequence[bool]) -> bool:
        lengths_s = [(scene.end_s or 0.0) - (scene.start_s or 0.0) for scene in scenes]
        matching_s = sum(length_s for length_s, one in zip(lengths_s, chosen, strict=True) if one)
        return sum(chosen) >= self.count and matching_s >= self.share * sum(lengths_s)

    def _follows(self, scenes: Sequence[RuleFacts], pair: tuple[Statement, Statement]) -> Truth:
        first, second = ([term.truth(scene) for scene in scenes] for term in pair)
        for enough in ((True,), (True, None)):
            before_s = float("-inf")  # start of the last scene with the first
            for scene, begins, follows in zip(scenes, first, second, strict=True):
                start_s = scene.start_s or 0.0
                if follows in enough and before_s > float("-inf") and start_s - before_s <= self.within_s:
                    return enough[-1]
                before_s = start_s if begins in enough else before_s
        return False


@dataclass(frozen=True)
class Rule:
    """Gives and removes tags where its condition is true.

    Attributes:
        name: Its id; for a rule of the short form its name.
        tags: The tags that it gives.
        selections: Its named parts; for the short form, one per block.
        condition: What must be true.
        facet: Whether its tags are technical facts to filter by, listed after the other tags.
        removes: The tags that it removes.
        priority: Of rules that disagree about a tag, the one with the highest priority wins.
        scope: Whether it is evaluated for the video, or for each scene.
        hold: When matching scenes give the video the tags.
        exclusions: What must not be true.
        source: The rule of the full form as in the file; None: it has the short form.
        match: Of the short form: whether "any" block is enough, or "all" must match.
    """

    name: str
    tags: tuple[str, ...]
    selections: tuple[RuleSelection, ...]
    condition: Statement
    facet: bool = False
    removes: tuple[str, ...] = ()
    priority: int = 0
    scope: Scope = "video"
    hold: Hold = Hold()
    exclusions: tuple[Statement, ...] = ()
    exclusion_sources: tuple[Mapping[str, Any], ...] = ()
    source: FullRuleSource | None = None
    match: Literal["any", "all"] = "any"

    @classmethod
    def of_blocks(
        cls, name: str, tags: tuple[str, ...], blocks: Sequence[Block], match: Literal["any", "all"], *, facet: bool
    ) -> "Rule":
        """Return a rule of the short form."""
        selections = tuple(RuleSelection(block.name, block) for block in blocks)
        condition = AtLeast(len(selections) if match == "all" else 1, selections)
        return cls(name, tags, selections, condition, facet, match=match)

    @classmethod
    def of_source(cls, source: FullRuleSource, vocabulary: Vocabulary) -> "Rule":
        """Return a rule of the full form. Raises ValueError with a message for the user."""
        if not source.tags and not source.remove:
            raise ValueError('it neither gives nor removes tags: add "tags" or "remove"')
        selections, condition = source.term(vocabulary)
        if source.scope == "video" and source.hold:
            raise ValueError('"hold" is about scenes: add "scope": "scene"')
        return cls(
            source.id,
            unique_tags(source.tags),
            tuple(selections.values()),
            condition,
            source.facet,
            tuple(source.remove),
            source.priority,
            source.scope,
            _hold(source.hold, selections) if source.hold else Hold(),
            source=source,
        )

    @property
    def title(self) -> str:
        """What people call it."""
        return (self.source.title if self.source else "") or self.name

    @property
    def status(self) -> Status:
        """How far it is trusted; rules of the short form are stable."""
        return self.source.status if self.source else "stable"

    @cached_property
    def keyed_tags(self) -> tuple[tuple[str, str], ...]:
        """(key, tag) of each tag; see `tag_key`."""
        return tuple((tag_key(tag), tag) for tag in self.tags)

    @cached_property
    def decides(self) -> frozenset[str]:
        """Keys of the tags that it gives or removes."""
        return frozenset(map(tag_key, (*self.tags, *self.removes)))

    @cached_property
    def term(self) -> Statement:
        """What must be true, its exclusions included."""
        return all_of([self.condition, *map(Negation, self.exclusions)])

    def truth(self, facts: RuleFacts) -> Truth:
        """Return whether it applies to a video or, with the scope scene, to a scene; None: unknown."""
        return self.term.truth(facts)

    def blocks(self) -> Iterator[Block]:
        """Yield everything that it checks."""
        for term in (*self.selections, *self.exclusions):
            yield from blocks_of_term(term)

    @cached_property
    def fields(self) -> frozenset[str]:
        """Names of the facts that it checks."""
        return used_fields(self.blocks())

    @cached_property
    def checked_tags(self) -> frozenset[str]:
        """Keys of the tags given by rules that it checks."""
        conditions = (block.condition for block in self.blocks() if isinstance(block, ValueBlock))
        return frozenset(str(key) for one in conditions if one.spec.name == "tags" for key in one.values)

    def support(self, facts: RuleFacts) -> list[tuple[str, Block]]:
        """Return (selection, block) of what makes the condition true by being true itself."""
        owners = {id(block): selection.name for selection in self.selections for block in blocks_of_term(selection)}
        decided = (leaf for leaf in self.condition.deciding(facts) if isinstance(leaf, Block) and leaf.truth(facts))
        return [(owners[id(block)], block) for block in decided]

    def denial(self, facts: RuleFacts) -> str:
        """Return what the condition rests on if nothing in it is true itself: `not color: red (found: blue)`."""
        blocks = (leaf for leaf in self.condition.deciding(facts) if isinstance(leaf, Block))
        parts = [part for block in blocks for part in block.parts(facts)]
        return "; ".join(f"not {part.asks} (found: {part.found})" for part in parts[:MAX_SHOWN])

    def normal(self) -> dict[str, Any]:
        """Return the rule as in a rules file, without what does not change its meaning."""
        if self.source is None:
            body: dict[str, Any] = {"name": self.name, "tags": list(self.tags)}
            body |= {selection.name: next(blocks_of_term(selection)).normal() for selection in self.selections}
            body |= {"match": "all"} if self.match == "all" else {}
            body |= {"facet": True} if self.facet else {}
        else:
            shown = {"title", "status", "formerly", "tests", "note", "enabled"}
            body = self.source.model_dump(mode="json", by_alias=True, exclude=shown, exclude_defaults=True)
            if "hold" in body:
                body["hold"].pop("note", None)
        return body | ({"exclusions": list(self.exclusion_sources)} if self.exclusion_sources else {})


def blocks_of_term(term: Statement) -> Iterator[Block]:
    """Yield everything that a term checks, in order."""
    return (leaf for leaf in term.leaves() if isinstance(leaf, Block))


def unique_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the tags without those that are the same as an earlier one."""
    first = {tag_key(tag): tag for tag in reversed(tags)}
    return tuple(dict.fromkeys(first[tag_key(tag)] for tag in tags))


def _hold(source: HoldSource, selections: Mapping[str, RuleSelection]) -> Hold:
    then = source.then
    if then is None and source.within_s is not None:
        raise ValueError('"within_s" needs "then"')
    if then is None:
        if source.share is None and source.count is None:
            raise ValueError('"hold" takes "share|gte", "count|gte" or "then"')
        return Hold(source.share or 0.0, source.count or 1)
    if unknown := [name for name in then if name not in selections]:
        raise ValueError(f'"hold": there is no selection "{unknown[0]}"')
    within_s = float("inf") if source.within_s is None else source.within_s
    return Hold(then=(selections[then[0]], selections[then[1]]), within_s=within_s)


def parse_exclusion(source: Any, vocabulary: Vocabulary) -> tuple[ExclusionSource, Statement]:
    """Return an exclusion and its condition. Raises ValueError with a message for the user."""
    exclusion = checked(ExclusionSource, source)
    return exclusion, exclusion.term(vocabulary)[1]
