"""The budget at the sensor due_videos: which videos may be described now, what that takes, and why the others wait."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import dagster as dg

from vidpipe.library.launchable import Launchable
from vidpipe.library.library import Library
from vidpipe.library.states import chunked, due_branches
from vidpipe.pipeline.alerting.telling import take_in_budget
from vidpipe.pipeline.model_use import estimate_tags
from vidpipe.runner.answer_estimate import AnswerCounter
from vidpipe.runner.budget import (
    Allowance,
    BudgetDecision,
    ModelWork,
    Prices,
    delete_budget_note,
    held_back_sentence,
    recent_usages,
    save_budget_note,
    total,
)
from vidpipe.runner.due import due_ids
from vidpipe.runner.estimate import sampled_work
from vidpipe.runner.plan import DescribingStages, Plan
from vidpipe.runner.request import RunRequest

#: Videos of unfinished runs that are counted one by one; they stand for the others.
_MOST_PENDING = 100


@dataclass
class DescribingBudget:
    """The budget at one tick of the sensor.

    Attributes:
        library: The open library.
        plan: All stages.
        describing: The stages that ask the model.
        decision: Which videos fit into the budget; None without a budget, or if nothing was due.
    """

    library: Library
    plan: Plan
    describing: DescribingStages
    decision: BudgetDecision | None = None
    _work: dict[str, ModelWork] = field(default_factory=dict)
    _held_due: int = 0

    @classmethod
    def of(cls, library: Library, plan: Plan, stages: Collection[str]) -> DescribingBudget | None:
        """Return None if none of `stages` asks a describing model whose answers cost anything."""
        describing = DescribingStages.of(plan)
        if describing is None or not set(stages).intersection(describing.names):
            return None
        return cls(library, plan, describing)

    @cached_property
    def counting(self) -> AnswerCounter:
        """The counter, built only if there is something to count: it reads thousands of answers."""
        return AnswerCounter.of(self.library, self.plan, self.describing)

    @property
    def prices(self) -> Prices:
        """The prices in force."""
        return Prices.of(self.plan.settings)

    def within(self, found: Sequence[Launchable], held: Collection[str]) -> list[Launchable]:
        """Return those of `found` that may be launched, given the videos `held` by unfinished runs."""
        budget = self.plan.settings.budget
        if not budget.is_limited or not found:
            return list(found)
        allowance = Allowance(budget, self.prices, recent_usages(self.library.collections["runs"], self.prices))
        self.decision = allowance.exhausted()
        if self.decision is not None:  # what each video takes does not matter
            return []
        waiting = self._each([video.sha256 for video in found])
        self.decision = allowance.decide(self._pending(held), waiting)
        fits = set(self.decision.fits)
        return [video for video in found if video.sha256 in fits]

    def tags(self, keys: Sequence[str]) -> dict[str, str]:
        """Return what a run over `keys` is expected to ask, as its tags."""
        missing = [sha256 for sha256 in keys if sha256 not in self._work]
        self._work.update(self.counting.per_video(missing))
        amount = total(self._work[sha256] for sha256 in keys if sha256 in self._work)
        return estimate_tags(amount + self.counting.rates.start if amount.asked else amount, self.prices)

    def explain(self, instance: dg.DagsterInstance) -> str | None:
        """Say why videos wait for the budget, to `vidpipe status` and by an alert; None if none wait."""
        if self.decision is None or (self.decision.held_back is None and not self.decision.too_large):
            delete_budget_note(self.library)
            return None
        sentence = held_back_sentence(self.plan.settings.budget, self.prices, self.decision, self._waiting())
        save_budget_note(self.library, sentence, datetime.now(UTC))
        if not self.decision.is_measuring:
            take_in_budget(instance, self.library, self.plan.settings, sentence)
        return sentence

    def _waiting(self) -> int:
        branches = [branch for name in self.describing.names for branch in due_branches(name, self.plan.specs[name])]
        due = self.library.collections["videos"].count_documents({"$or": branches})
        return max(due - self._held_due - len(self.decision.fits if self.decision else ()), 1)

    def _each(self, ids: Sequence[str]) -> Iterator[tuple[str, ModelWork]]:
        """Yield the work of each of `ids`. One that cannot be counted is launched: the run reports what is wrong."""
        for part in chunked(ids, 20):
            self._work.update(self.counting.per_video(part))
            yield from ((sha256, self._work.get(sha256, ModelWork(videos=1))) for sha256 in part)

    def _pending(self, held: Collection[str]) -> ModelWork:
        request = RunRequest(videos=tuple(held))
        due = {sha256 for name in self.describing.names for sha256 in due_ids(self.library, self.plan, name, request)}
        self._held_due = len(due)
        amounts = sampled_work(self.counting, sorted(due), _MOST_PENDING)
        return total(amounts).scaled(len(due) / len(amounts)) if amounts else ModelWork(videos=len(due))
