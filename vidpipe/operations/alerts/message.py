"""The content of an alert: how many runs failed, of which job, why, and where to look."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vidpipe.redaction import redact
from vidpipe.text.messages import single_line

MAX_RUNS = 5
MAX_SENTENCES = 6
_SENTENCE, _LONG_SENTENCE, _NAME, _TITLE, _PATH = 400, 800, 80, 150, 200


def one_line(text: str, limit: int) -> str:
    """Make untrusted text (file names, page titles, server responses) safe to show in a message.

    Args:
        text: Any text.
        limit: Maximum number of characters of the result.

    Returns:
        The text on one line, without control and bidirectional characters, with secrets masked.
    """
    # Redacted in between: an invisible character would split a secret, and so would the cut.
    return single_line(redact(single_line(text, len(text) + 1)), limit)


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    at: datetime


class FailedRun(_Event):
    """A failed Dagster run.

    Attributes:
        sentences: Why it failed, the summary first.
        address: URL of the run's page; empty if the web page is not running.
    """

    kind: Literal["run"] = "run"
    id: str
    job: str
    sentences: tuple[str, ...] = ()
    address: str = ""


class HighFailureRate(_Event):
    """Too many failures within a time window.

    Attributes:
        what: A stage, whose videos are counted, or `sources`.
        failed: Number of failures among the `tried` within the last `minutes`.
        limit: The highest rate allowed, from 0 to 1.
    """

    kind: Literal["rate"] = "rate"
    what: str
    failed: int
    tried: int
    minutes: float
    limit: float

    def sentence(self) -> str:
        """Describe the rate in one sentence."""
        things = "sources" if self.what == "sources" else f"videos in stage {self.what}"
        return (
            f"{self.failed} of {self.tried} {things} failed within {self.minutes:g} minutes "
            f"({self.failed / self.tried:.0%}; [Alerts] FailureRate is {self.limit:.0%})."
        )


class BudgetReached(_Event):
    """Videos wait because the budget of the describing model is used up.

    Attributes:
        sentence: How many videos wait, until when, and what to do.
    """

    kind: Literal["budget"] = "budget"
    sentence: str


class AlertMessage(BaseModel):
    """A message that is ready to send.

    Attributes:
        title: One line.
        text: The message for people, with the title as its first line.
        fields: The same for programs.
    """

    model_config = ConfigDict(frozen=True)

    title: str
    text: str
    fields: dict[str, Any] = Field(default_factory=dict)


def compose(
    runs: Sequence[FailedRun],
    rates: Sequence[HighFailureRate],
    jobs: Mapping[str, int],
    *,
    host: str,
    home: str,
    budget: BudgetReached | None = None,
) -> AlertMessage:
    """Put everything that waits into one message.

    Args:
        runs: The first of the failed runs.
        rates: Failure rates that are too high.
        jobs: Job -> number of all its failed runs, including those beyond `runs`.
        host: Name of this machine.
        home: Path of the vidpipe home.
        budget: Set if the budget of the describing model is used up.
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
    for run in runs[:MAX_RUNS]:
        head = f"{one_line(run.job, _NAME)}, {run.at.astimezone():%Y-%m-%d %H:%M}: {run.address or run.id}"
        lines += [head, *(f"  {sentence}" for sentence in _sentences(run)), ""]
    if total > MAX_RUNS:
        lines += [f"… and {total - min(len(runs), MAX_RUNS)} more.", ""]
    lines += [one_line(rate.sentence(), _SENTENCE) for rate in rates] + ([""] if rates else [])
    lines += [one_line(budget.sentence, _LONG_SENTENCE), ""] if budget is not None else []
    lines.append(f"For details, run `vidpipe status --failed` (home {one_line(home, _PATH)})")
    fields = {
        "host": host,
        "failed_runs": total,
        "jobs": dict(jobs),
        "runs": [{**_fields(run), "sentences": _sentences(run)} for run in runs[:MAX_RUNS]],
        "rates": [_fields(rate) for rate in rates],
        **({} if budget is None else {"budget": _fields(budget)}),
    }
    return AlertMessage(title=title, text="\n".join(lines), fields=fields)


def _fields(event: _Event) -> dict[str, Any]:
    return event.model_dump(mode="json", exclude={"kind"})


def _sentences(run: FailedRun) -> list[str]:
    shown = [one_line(sentence, _SENTENCE) for sentence in run.sentences[:MAX_SENTENCES]]
    left = len(run.sentences) - MAX_SENTENCES
    return [*shown, *([f"… and {left} more."] if left > 0 else [])]


def test_message(host: str, home: str) -> AlertMessage:
    """Make the message that `vidpipe alert --test` sends."""
    title = one_line(f"vidpipe on {host}: this is a test", _TITLE)
    text = f"{title}\n\nThis is where alerts of the home {one_line(home, _PATH)} arrive. Nothing has failed."
    return AlertMessage(title=title, text=text, fields={"host": host, "test": True})
