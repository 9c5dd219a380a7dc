"""Which rules may come out otherwise after a change of rules: those that changed, and what shares a tag with them."""

from dataclasses import dataclass

from vidpipe.tagging.field_conditions import ValueBlock
from vidpipe.tagging.rule import Rule
from vidpipe.tagging.rules import RuleSet
from vidpipe.text.words import tag_key


@dataclass(frozen=True)
class ChangedRules:
    """A part of a rule set that decides by itself about some tags.

    Attributes:
        rules: The rules in force that say anything of these tags, or depend on them.
        keys: Keys of the tags. No other tag of a video can come out otherwise.
    """

    rules: RuleSet
    keys: frozenset[str]

    @classmethod
    def between(cls, former: RuleSet, rules: RuleSet) -> "ChangedRules | None":
        """Return what a change of `former` to `rules` concerns; None: everything."""
        old, new = ({rule.name: rule for rule in one.rules} for one in (former, rules))
        same_order = [name for name in old if name in new] == [name for name in new if name in old]
        every = (*former.rules, *rules.rules)
        if not same_order or former.vocabulary != rules.vocabulary or any(map(_depends_on_all_tags, every)):
            return None
        vocabulary = rules.vocabulary
        changed = {name for name in {**old, **new} if name not in old or name not in new
                   or old[name].normal() != new[name].normal()}  # fmt: skip
        groups = [rule.decides | rule.checked_tags for rule in every]
        groups += [frozenset({key, *map(tag_key, broader)}) for key, broader in vocabulary.broader.items()]
        groups += [others | {key} for key, others in vocabulary.exclusive.items()]
        keys = {key for rule in every if rule.name in changed for key in rule.decides | rule.checked_tags}
        while more := [group for group in groups if not keys.isdisjoint(group) and not keys.issuperset(group)]:
            keys.update(*more)
        chosen = tuple(rule for rule in rules.rules if not keys.isdisjoint(rule.decides | rule.checked_tags))
        return cls(RuleSet(chosen, vocabulary), frozenset(keys))


def _depends_on_all_tags(rule: Rule) -> bool:
    """Return whether it checks how many tags there are, or whether there are any."""
    return any(
        name == "tags" and not (isinstance(block, ValueBlock) and block.condition.spec.name == "tags")
        for block in rule.blocks()
        for name in {field.partition(".")[0] for field in block.fields}
    )
