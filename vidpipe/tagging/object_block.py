"""Blocks that ask for detected objects: which, how many, how certain, and for what share of the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from vidpipe.tagging.block import Block, PartExplanation, listed, safe
from vidpipe.tagging.facts import RuleFacts, SeenObject
from vidpipe.tagging.rules_file import RulesFileModel, Texts, checked
from vidpipe.text.messages import clock_time
from vidpipe.text.words import Keyword, normalize


class ObjectSource(RulesFileModel):
    """One entry of `object_conditions` as in the file.

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


@dataclass(frozen=True)
class ObjectCondition:
    """Holds if the video shows an object with one of the labels; see `ObjectSource`."""

    labels: tuple[str, ...]
    min_count: int = 1
    min_share: float = 0.0
    min_confidence: float = 0.0

    def named(self, facts: RuleFacts) -> list[SeenObject]:
        """Return the objects with one of the labels."""
        return [seen for seen in facts.objects or () if _key(seen.label) in self.labels]

    def found(self, facts: RuleFacts) -> list[SeenObject]:
        """Return those that satisfy the condition."""
        return [
            seen
            for seen in self.named(facts)
            if seen.count >= self.min_count and seen.share >= self.min_share and seen.confidence >= self.min_confidence
        ]

    def normal(self) -> dict[str, Any]:
        """Return the condition as in a rules file."""
        labels = self.labels[0] if len(self.labels) == 1 else list(self.labels)
        limits = {"min_count": self.min_count, "min_share": self.min_share, "min_confidence": self.min_confidence}
        return {"object": labels} | {key: value for key, value in limits.items() if value > (key == "min_count")}

    @property
    def asks(self) -> str:
        """What it requires, in words."""
        limits = [
            f"at least {self.min_count} at once" if self.min_count > 1 else "",
            f"{self.min_share:.0%} of the time" if self.min_share else "",
            f"confidence {self.min_confidence:g}" if self.min_confidence else "",
        ]
        return ", ".join([" or ".join(f'"{label}"' for label in self.labels), *filter(None, limits)])


@dataclass(frozen=True)
class ObjectBlock(Block):
    """Matches if one of its conditions holds.

    Attributes:
        name: Its key in the rules file; "objects" is short for conditions that only name a label.
        conditions: The conditions.
    """

    name: Literal["objects", "object_conditions"]
    conditions: tuple[ObjectCondition, ...]

    @classmethod
    def of_labels(cls, labels: list[str]) -> ObjectBlock:
        """Return the block for any object with one of these labels. Raises ValueError."""
        return cls("objects", tuple(ObjectCondition((label,)) for label in _keys(labels)))

    @classmethod
    def parse(cls, sources: list[dict[str, Any]]) -> ObjectBlock:
        """Return the block for these conditions. Raises ValueError."""
        entries = [checked(ObjectSource, source) for source in sources]
        conditions = {
            ObjectCondition(_keys(entry.object), entry.min_count, entry.min_share, entry.min_confidence)
            for entry in entries
        }
        return cls("object_conditions", tuple(sorted(conditions, key=lambda condition: str(condition.normal()))))

    def hits(self, facts: RuleFacts) -> list[ObjectCondition]:
        """Return the conditions that hold."""
        return [condition for condition in self.conditions if condition.found(facts)]

    def evidence(self, facts: RuleFacts) -> str:
        """`it shows 2 bicycles (confidence 0.83, 40 % of the time, first at 0:01.2)`."""
        found = {_shown(seen): None for condition in self.conditions for seen in condition.found(facts)}
        return f"it shows {listed(list(found))}"

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return each alternative with what was found."""
        nothing = "not known" if facts.objects is None else "not seen"
        return tuple(
            PartExplanation(
                asks=condition.asks,
                found=listed([_shown(seen) for seen in condition.named(facts)]) or nothing,
                matched=bool(condition.found(facts)),
            )
            for condition in self.conditions
        )

    def normal(self) -> Any:
        """Return the block as in a rules file."""
        if self.name == "objects":
            return [condition.labels[0] for condition in self.conditions]
        conditions = [condition.normal() for condition in self.conditions]
        return conditions[0] if len(conditions) == 1 else conditions


def _key(label: str) -> str:
    return normalize(label).strip()


def _keys(labels: list[str]) -> tuple[str, ...]:
    return tuple(sorted({Keyword.parse(label).phrase for label in labels}))


def _shown(seen: SeenObject) -> str:
    name = f"{seen.count} {safe(seen.label)}" + ("s" if seen.count > 1 else "")
    first = "" if seen.first_s is None else f", first at {clock_time(seen.first_s, 1)}"
    return f"{name} (confidence {seen.confidence:.2f}, {seen.share * 100:.0f} % of the time{first})"
