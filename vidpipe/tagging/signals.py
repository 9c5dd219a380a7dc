"""Signals of categories: conditions of the full form of rules, each with a weight."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from vidpipe.tagging.block import Block, PartExplanation
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.field_conditions import used_fields
from vidpipe.tagging.fields import FIELDS, Vocabulary
from vidpipe.tagging.logic import Statement, Truth
from vidpipe.tagging.rule import NamedSelections, blocks_of_term
from vidpipe.tagging.validation import Text, checked

_OWN_KEYS = frozenset(("weight", "name", "note", "selections"))


class SignalSource(NamedSelections):
    """One signal as in the file: named selections and a condition, or the entries of one selection without a name.

    Attributes:
        name: What explanations call it.
        weight: What it adds to the score.
    """

    name: Text = ""
    weight: float = Field(1.0, gt=0, le=1000)


@dataclass(frozen=True)
class Signal(Block):
    """Adds its weight to the score of a category if its condition is true; what is unknown adds nothing."""

    name: str
    condition: Statement
    source: SignalSource

    @classmethod
    def parse(cls, entry: Any, number: int, vocabulary: Vocabulary) -> "Signal":
        """Return the signal of an entry; `number` names one without a name. Raises ValueError."""
        if isinstance(entry, dict) and "selections" not in entry:
            checks = {key: value for key, value in entry.items() if key not in _OWN_KEYS}
            entry = {key: value for key, value in entry.items() if key in _OWN_KEYS} | {"selections": {"it": checks}}
        source = checked(SignalSource, entry)
        name = f"signal {number}" + (f" ({source.name})" if source.name else "")
        return cls(name, source.term(vocabulary)[1], source)

    @property
    def fields(self) -> frozenset[str]:
        """Names of the facts that it checks."""
        return used_fields(blocks_of_term(self.condition))

    @property
    def measured(self) -> bool:
        """Whether it checks nothing but metadata and measurements."""
        return self.fields <= FIELDS.keys()

    def truth(self, facts: RuleFacts) -> Truth:
        """Return whether its condition is true; None: unknown."""
        return self.condition.truth(facts)

    def hits(self, facts: RuleFacts) -> list[str]:
        """Return its name if its condition is true."""
        return [self.name] if self.truth(facts) else []

    def evidence(self, facts: RuleFacts) -> str:
        """Return what makes the condition true."""
        decided = (leaf for leaf in self.condition.deciding(facts) if isinstance(leaf, Block) and leaf.truth(facts))
        return ", ".join(dict.fromkeys(leaf.evidence(facts) for leaf in decided)) or f"{self.name} holds"

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return everything that it checks with what was found."""
        return tuple(part for block in blocks_of_term(self.condition) for part in block.parts(facts))

    def normal(self) -> Any:
        """Return the signal as in a rules file."""
        return self.source.model_dump(mode="json", exclude={"note"}, exclude_defaults=True)
