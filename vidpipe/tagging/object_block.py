"""The block that asks for detected objects: which, how many, how certain, and for what share of the time."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from vidpipe.tagging.block import Block, PartExplanation, listed, safe
from vidpipe.tagging.facts import RuleFacts, SeenObject
from vidpipe.tagging.validation import RulesFileModel, Texts, checked
from vidpipe.text.messages import clock_time
from vidpipe.text.words import Keyword, normalize, plural


class ObjectCondition(RulesFileModel):
    """Holds if an object with one of the labels was detected within all limits.

    Attributes:
        object: Labels; one of them is enough.
        min_count: Fewest of them in one frame.
        min_share: Smallest share of the time, 0 to 1.
        min_confidence: Lowest confidence of the best detection, 0 to 1.
    """

    object: Texts = Field(min_length=1)
    min_count: int = Field(1, ge=1)
    min_share: float = Field(0.0, ge=0, le=1)
    min_confidence: float = Field(0.0, ge=0, le=1)

    @classmethod
    def parse(cls, source: Any) -> "ObjectCondition":
        """Return the condition of one entry, a label or an object. Raises ValueError."""
        entry = checked(cls, {"object": source} if isinstance(source, str) else source)
        labels = sorted({Keyword.parse(label).phrase for label in entry.object})
        return entry.model_copy(update={"object": labels, "note": ""})

    def named(self, facts: RuleFacts) -> list[SeenObject]:
        """Return the objects with one of the labels."""
        return [seen for seen in facts.objects or () if normalize(seen.label).strip() in self.object]

    def found(self, facts: RuleFacts) -> list[SeenObject]:
        """Return those that satisfy the condition."""
        return [
            seen
            for seen in self.named(facts)
            if seen.count >= self.min_count and seen.share >= self.min_share and seen.confidence >= self.min_confidence
        ]

    def normal(self) -> Any:
        """Return the condition as in a rules file."""
        entry = self.model_dump(exclude_defaults=True)
        return self.object[0] if len(self.object) == len(entry) == 1 else entry

    @property
    def asks(self) -> str:
        """What it requires, in words."""
        limits = [
            f"at least {self.min_count} at once" if self.min_count > 1 else "",
            f"{self.min_share:.0%} of the time" if self.min_share else "",
            f"confidence {self.min_confidence:g}" if self.min_confidence else "",
        ]
        return ", ".join([" or ".join(f'"{label}"' for label in self.object), *filter(None, limits)])


@dataclass(frozen=True)
class ObjectBlock(Block):
    """Matches if one of its conditions holds."""

    conditions: tuple[ObjectCondition, ...]
    name: str = "objects"

    @classmethod
    def parse(cls, sources: list[Any]) -> "ObjectBlock":
        """Return the block for these conditions. Raises ValueError."""
        conditions = {str(condition.normal()): condition for condition in map(ObjectCondition.parse, sources)}
        return cls(tuple(conditions[key] for key in sorted(conditions)))

    fields = frozenset({"objects"})

    def hits(self, facts: RuleFacts) -> list[ObjectCondition]:
        """Return the conditions that hold."""
        return [condition for condition in self.conditions if condition.found(facts)]

    def evidence(self, facts: RuleFacts) -> str:
        """`objects were detected: 2 bicycles (confidence 0.83, 40 % of the time, first at 0:01.2)`."""
        found = {_shown(seen): None for condition in self.conditions for seen in condition.found(facts)}
        return f"objects were detected: {listed(list(found))}"

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return each alternative with what was found."""
        nothing = "not known" if facts.objects is None else "not detected"
        found = [(one, listed([*map(_shown, one.named(facts))]) or nothing) for one in self.conditions]
        return tuple(PartExplanation(asks=one.asks, found=seen, matched=bool(one.found(facts))) for one, seen in found)

    def normal(self) -> Any:
        """Return the block as in a rules file."""
        return [condition.normal() for condition in self.conditions]


def _shown(seen: SeenObject) -> str:
    name = safe(plural(seen.label) if seen.count > 1 else seen.label)
    first = "" if seen.first_s is None else f", first at {clock_time(seen.first_s, 1)}"
    return f"{seen.count} {name} (confidence {seen.confidence:.2f}, {seen.share * 100:.0f} % of the time{first})"
