"""How two rule sets differ."""

from dataclasses import dataclass
from typing import Any

from vidpipe.tagging.rules import RuleSet


@dataclass(frozen=True)
class RuleChange:
    """A rule that changed between two sets.

    Attributes:
        rule: Its name.
        keys: The keys in which the normal forms differ.
        before: The old normal form.
        after: The new normal form.
    """

    rule: str
    keys: tuple[str, ...]
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True)
class RuleSetChange:
    """How two rule sets differ; false if they do not.

    Attributes:
        added: Names of rules that are in the new set only.
        removed: Names of rules that are in the old set only.
        renamed: (old, new) names of rules that are otherwise equal.
        changed: Rules with the same name that differ.
        reordered: Whether the order of the rules in both sets differs.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    changed: tuple[RuleChange, ...]
    reordered: bool

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.renamed or self.changed or self.reordered)


def compare(old: RuleSet, new: RuleSet) -> RuleSetChange:
    """Return how `new` differs from `old`."""
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


def _body(normal: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in normal.items() if key not in ("name", "id")}


def _differing(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    return tuple(key for key in sorted(before | after) if before.get(key) != after.get(key))
