"""What differs between two rule sets, and between the tags a video had and has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from vidpipe.tagging.blocks import tag_key
from vidpipe.tagging.rules import RuleSet

ChangeKind = Literal["added", "removed", "rule changed", "evidence changed"]


@dataclass(frozen=True)
class RuleChange:
    """A rule that is in both sets under one name, with the keys in which its normal forms differ."""

    rule: str
    keys: tuple[str, ...]
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True)
class RuleSetChange:
    """Names of rules that are only in the new or only in the old set, (old, new) names of those that do the same under
    another name, the changed ones, and whether rules in both sets stand in another order."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    changed: tuple[RuleChange, ...]
    reordered: bool

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.renamed or self.changed or self.reordered)


class GivenTag(Protocol):
    """What `tag_changes` needs of a tag, stored or just given."""

    @property
    def tag(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def evidence(self) -> str: ...


@dataclass(frozen=True)
class TagChange:
    """rule: the one that gives the tag now, or gave it before where the tag is removed. was: the evidence before."""

    tag: str
    change: ChangeKind
    rule: str
    evidence: str = ""
    was: str = ""


def compare(old: RuleSet, new: RuleSet) -> RuleSetChange:
    """How `new` differs from `old`; false in a condition where both have the same version."""
    before = {rule.name: rule.normal() for rule in old.rules}
    after = {rule.name: rule.normal() for rule in new.rules}
    gone = [name for name in before if name not in after]
    come = [name for name in after if name not in before]
    renamed: list[tuple[str, str]] = []
    for name in gone:
        twin = next((one for one in come if _body(after[one]) == _body(before[name])), None)
        if twin is not None:
            come.remove(twin)
            renamed.append((name, twin))
    new_names = dict(renamed)
    stayed = [new_names.get(name, name) for name in before if name in after or name in new_names]
    return RuleSetChange(
        added=tuple(come),
        removed=tuple(name for name in gone if name not in new_names),
        renamed=tuple(renamed),
        changed=tuple(
            RuleChange(name, _differing(before[name], after[name]), before[name], after[name])
            for name in before
            if name in after and before[name] != after[name]
        ),
        reordered=stayed != [name for name in after if name in set(stayed)],
    )


def tag_changes(before: Iterable[GivenTag], after: Iterable[GivenTag]) -> list[TagChange]:
    """Removed tags first, then the others in their order; [] where nothing differs."""
    old = {tag_key(tag.tag): tag for tag in before}
    new = {tag_key(tag.tag): tag for tag in after}
    changes = [TagChange(tag.tag, "removed", tag.rule, was=tag.evidence) for key, tag in old.items() if key not in new]
    for key, tag in new.items():
        if key not in old:
            changes.append(TagChange(tag.tag, "added", tag.rule, tag.evidence))
        elif tag.rule != old[key].rule:
            changes.append(TagChange(tag.tag, "rule changed", tag.rule, tag.evidence, old[key].evidence))
        elif tag.evidence != old[key].evidence:
            changes.append(TagChange(tag.tag, "evidence changed", tag.rule, tag.evidence, old[key].evidence))
    return changes


def _body(normal: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in normal.items() if key != "name"}


def _differing(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    return tuple(key for key in sorted(before | after) if before.get(key) != after.get(key))
