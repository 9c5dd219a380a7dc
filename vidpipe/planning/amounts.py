"""What asking the describing model comes to: answers, tokens, time, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from vidpipe.settings import Settings


@dataclass(frozen=True)
class Amount:
    """What describing some videos takes. Of what is estimated, fractions are possible.

    frames:         that the model is shown for the answers to ask
    asked, reused:  answers to ask, and answers that are there already
    prompt_tokens, output_tokens: that the model will read and write
    seconds:        of the model's time; None: its speed has not been measured yet
    at_most:        nothing was measured: the tokens are the most it can come to
    """

    videos: float = 0
    scenes: float = 0
    frames: float = 0
    asked: float = 0
    reused: float = 0
    prompt_tokens: float = 0
    output_tokens: float = 0
    seconds: float | None = 0.0
    at_most: bool = False

    def __add__(self, other: Amount) -> Amount:
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
            if field.name not in ("seconds", "at_most")
        }
        known = self.seconds is not None and other.seconds is not None
        seconds = (self.seconds or 0.0) + (other.seconds or 0.0) if known else None
        return Amount(**sums, seconds=seconds, at_most=self.at_most or other.at_most)

    def scaled(self, factor: float) -> Amount:
        """`factor` times as much."""
        counts = {
            field.name: factor * getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("seconds", "at_most")
        }
        return replace(self, **counts, seconds=None if self.seconds is None else factor * self.seconds)


def total(amounts: Iterable[Amount]) -> Amount:
    return sum(amounts, Amount())


@dataclass(frozen=True)
class Prices:
    """The prices in force. input_token, output_token: of one token; second: of a second of the model's time"""

    input_token: float = 0.0
    output_token: float = 0.0
    second: float = 0.0
    currency: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Prices:
        """Those of [Budget]. Tokens have a price at an endpoint only; sentences made of measurements have none."""
        budget, backend = settings.budget, settings.qwen_vl.backend
        if backend == "statistics":
            return cls(currency=budget.currency)
        endpoint = backend == "endpoint"
        return cls(
            budget.price_input / 1e6 if endpoint else 0.0,
            budget.price_output / 1e6 if endpoint else 0.0,
            budget.price_gpu_hour / 3600,
            budget.currency,
        )

    def __bool__(self) -> bool:
        return bool(self.input_token or self.output_token or self.second)

    def cost(self, prompt_tokens: float, output_tokens: float, seconds: float | None) -> float | None:
        """None: there are no prices, or the time that has one is not known."""
        if not self or (self.second and seconds is None):
            return None
        return prompt_tokens * self.input_token + output_tokens * self.output_token + (seconds or 0.0) * self.second

    def cost_of(self, amount: Amount) -> float | None:
        return self.cost(amount.prompt_tokens, amount.output_tokens, amount.seconds)
