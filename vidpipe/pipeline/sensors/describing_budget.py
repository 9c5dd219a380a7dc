"""The budget of [Budget] at the sensor due_videos: which videos may be described now, what that takes, and why the
others wait."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import dagster as dg

from vidpipe.library.launchable import Launchable
from vidpipe.library.library import Library
from vidpipe.library.states import due_branches
from vidpipe.pipeline.alerting.telling import take_in_budget
from vidpipe.pipeline.budget_note import forget_note, keep_note
from vidpipe.pipeline.usage_tags import estimate_tags
from vidpipe.planning.amounts import Amount, Prices, total
from vidpipe.planning.budget import Allowance, Reach, stop_sentence
from vidpipe.planning.counting import Counting
from vidpipe.planning.describing import Describing
from vidpipe.planning.due import Wish, due_ids
from vidpipe.planning.estimate import counted
from vidpipe.planning.usage import spans
from vidpipe.runner.plan import Plan

#: Of what unfinished runs hold, so many videos are looked at, and the others taken to be like them.
_MOST_PENDING = 100


@dataclass
class DescribingBudget:
    """One look of the sensor. reach: how far the budget goes; None: there is none, or nothing was due"""

    library: Library
    plan: Plan
    describing: Describing
    reach: Reach | None = None
    _amounts: dict[str, Amount] = field(default_factory=dict)
    _held_due: int = 0

    @classmethod
    def of(cls, library: Library, plan: Plan, stages: Collection[str]) -> DescribingBudget | None:
        """None: none of `stages` asks a describing model whose answers cost anything."""
        describing = Describing.of(plan)
        if describing is None or not set(stages).intersection(describing.names):
            return None
        return cls(library, plan, describing)

    @cached_property
    def counting(self) -> Counting:
        """Made only where there is something to count: it reads thousands of answers."""
        return Counting.of(self.library, self.plan, self.describing)

    @property
    def prices(self) -> Prices:
        return Prices.of(self.plan.settings)

    def within(self, found: Sequence[Launchable], held: Collection[str]) -> list[Launchable]:
        """Those of `found` that may be launched. held: what unfinished runs have"""
        budget = self.plan.settings.budget
        if not budget.is_limited or not found:
            return list(found)
        allowance = Allowance(budget, self.prices, spans(self.library.collections["runs"], self.prices))
        self.reach = allowance.used_up()
        if self.reach is not None:  # what each takes does not matter
            return []
        waiting = self._each([video.sha256 for video in found])
        self.reach = allowance.reach(self._pending(held), waiting)
        fits = set(self.reach.fits)
        return [video for video in found if video.sha256 in fits]

    def tags(self, keys: Sequence[str]) -> dict[str, str]:
        """What a run over `keys` is expected to ask, as its tags."""
        missing = [sha256 for sha256 in keys if sha256 not in self._amounts]
        self._amounts.update(self.counting.amounts(missing))
        amount = total(self._amounts[sha256] for sha256 in keys if sha256 in self._amounts)
        return estimate_tags(amount + self.counting.rates.start if amount.asked else amount, self.prices)

    def tell(self, instance: dg.DagsterInstance) -> str | None:
        """Keeps for `vidpipe status` why videos wait for the budget, has a person asked, and gives the sentence; None
        where none wait."""
        if self.reach is None or (self.reach.stopped is None and not self.reach.too_large):
            forget_note(self.library)
            return None
        sentence = stop_sentence(self.plan.settings.budget, self.prices, self.reach, self._waiting())
        keep_note(self.library, sentence, datetime.now(UTC))
        if not self.reach.is_measuring:
            take_in_budget(instance, self.library, self.plan.settings, sentence)
        return sentence

    def _waiting(self) -> int:
        branches = [branch for name in self.describing.names for branch in due_branches(name, self.plan.specs[name])]
        due = self.library.collections["videos"].count_documents({"$or": branches})
        return max(due - self._held_due - len(self.reach.fits if self.reach else ()), 1)

    def _each(self, ids: Sequence[str]) -> Iterator[tuple[str, Amount]]:
        """In the order of `ids`; one that cannot be counted is launched: the run says what is wrong with it."""
        for start in range(0, len(ids), 20):
            part = ids[start : start + 20]
            self._amounts.update(self.counting.amounts(part))
            yield from ((sha256, self._amounts.get(sha256, Amount(videos=1))) for sha256 in part)

    def _pending(self, held: Collection[str]) -> Amount:
        wish = Wish(tuple(held))
        due = {sha256 for name in self.describing.names for sha256 in due_ids(self.library, self.plan, name, wish)}
        self._held_due = len(due)
        amounts = counted(self.counting, sorted(due), _MOST_PENDING)
        return total(amounts).scaled(len(due) / len(amounts)) if amounts else Amount(videos=len(due))
