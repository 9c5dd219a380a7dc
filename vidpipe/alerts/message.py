"""What an alert says: how many runs failed, of which job, why, and where to look further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vidpipe.alerts.text import one_line

MOST_RUNS = 5
MOST_SENTENCES = 6
_SENTENCE, _LONG_SENTENCE, _NAME, _TITLE = 400, 800, 80, 150


class FailedRun(BaseModel):
    """One failed run. sentences: what its failure says, the sum first; address: of its page, where there is one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["run"] = "run"
    id: str
    job: str
    at: datetime
    sentences: tuple[str, ...] = ()
    address: str = ""


class HighRate(BaseModel):
    """`failed` of `tried` within the last `minutes`. what: a stage, or `sources`; its videos or sources are counted."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["rate"] = "rate"
    what: str
    failed: int
    tried: int
    minutes: float
    limit: float
    at: datetime

    @property
    def id(self) -> str:
        return f"rate {self.what}"

    def sentence(self) -> str:
        things = "sources" if self.what == "sources" else f"videos in stage {self.what}"
        return (
            f"{self.failed} of {self.tried} {things} failed within {self.minutes:g} minutes "
            f"({self.failed / self.tried:.0%}; [Alerts] FailureRate is {self.limit:.0%})."
        )


class BudgetReached(BaseModel):
    """Videos wait because the budget of the describing model is reached. sentence: how many, until when, what to do"""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["budget"] = "budget"
    sentence: str
    at: datetime

    @property
    def id(self) -> str:
        return "budget"


class Message(BaseModel):
    """What is sent. title: one line; text: several; fields: the same for programs."""

    model_config = ConfigDict(frozen=True)

    title: str
    text: str
    fields: dict[str, Any] = Field(default_factory=dict)


def compose(
    runs: Sequence[FailedRun],
    rates: Sequence[HighRate],
    jobs: Mapping[str, int],
    *,
    host: str,
    home: str,
    budget: BudgetReached | None = None,
) -> Message:
    """One message of everything that waits.

    runs: the first of them; jobs: job -> number of all its failed runs, those beyond `runs` included
    """
    total = max(len(runs), sum(jobs.values()))
    parts = []
    if total:
        by_job = ", ".join(f"{one_line(job, _NAME)} {number}" for job, number in sorted(jobs.items()) if number)
        parts.append(f"{total} run{'' if total == 1 else 's'} failed ({by_job or 'no job'})")
    if rates:
        parts.append("too many failures: " + ", ".join(sorted(one_line(rate.what, _NAME) for rate in rates)))
    if budget is not None:
        parts.append("the budget of the describing model is reached")
    title = one_line(f"vidpipe on {host}: {'; '.join(parts) or 'nothing failed'}", _TITLE)
    lines = [title, ""]
    for run in runs[:MOST_RUNS]:
        lines += [*_about(run), ""]
    if total > MOST_RUNS:
        lines += [f"… and {total - min(len(runs), MOST_RUNS)} more.", ""]
    lines += [one_line(rate.sentence(), _SENTENCE) for rate in rates] + ([""] if rates else [])
    lines += [one_line(budget.sentence, _LONG_SENTENCE), ""] if budget is not None else []
    lines.append(f"Look further: `vidpipe status --failed` (home {one_line(home, 200)})")
    fields = {
        "host": host, "failed_runs": total, "jobs": dict(jobs),
        "runs": [
            {**run.model_dump(mode="json", exclude={"kind"}), "sentences": _sentences(run)} for run in runs[:MOST_RUNS]
        ],
        "rates": [rate.model_dump(mode="json", exclude={"kind"}) for rate in rates],
        **({} if budget is None else {"budget": budget.model_dump(mode="json", exclude={"kind"})}),
    }  # fmt: skip
    return Message(title=title, text="\n".join(lines), fields=fields)


def _about(run: FailedRun) -> list[str]:
    head = f"{one_line(run.job, _NAME)}, {run.at.astimezone():%Y-%m-%d %H:%M}"
    return [f"{head}: {run.address or run.id}", *(f"  {sentence}" for sentence in _sentences(run))]


def _sentences(run: FailedRun) -> list[str]:
    said = [one_line(sentence, _SENTENCE) for sentence in run.sentences[:MOST_SENTENCES]]
    left = len(run.sentences) - MOST_SENTENCES
    return [*said, *([f"… and {left} more."] if left > 0 else [])]


def test_message(host: str, home: str) -> Message:
    """What `vidpipe alert --test` sends."""
    title = one_line(f"vidpipe on {host}: this is a test", _TITLE)
    text = f"{title}\n\nAlerts of the home {one_line(home, 200)} come this way. Nothing has failed."
    return Message(title=title, text=text, fields={"host": host, "test": True})
