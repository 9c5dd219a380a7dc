"""Seconds for a token read and for a token written, and for the model to be loaded, from when its answers came.

The time of answers that came together stands with the first of them, and that of loading the model with the first of a
run; only in sum it is right. So answers are put together again as they came before anything is concluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

from vidpipe.planning.fit import two_rates

#: Answers that came one by one are compared in parts of this number.
_PARTS = 24
#: Answers came together where a quarter of them took less than this share of the mean, and less than these seconds.
_TOGETHER, _TOGETHER_S = 0.1, 0.05
_FEWEST = 4
#: A part so many times slower than most is not measured, but disturbed.
_DISTURBED = 5.0


@dataclass
class Asked:
    """The answers to one request, in one run. read: tokens, of each answer; written: tokens of all"""

    scope: str
    run: str
    read: list[int] = field(default_factory=list)
    written: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Speed:
    """start_s: until the model gives its first answer in a run, besides its work; apart: whether reading and writing
    could be told apart"""

    a_prompt_token: float
    a_output_token: float
    start_s: float = 0.0
    apart: bool = False

    def seconds(self, read: float, written: float) -> float:
        return read * self.a_prompt_token + written * self.a_output_token


@dataclass(frozen=True)
class _Part:
    read: float
    written: float
    seconds: float

    @classmethod
    def of(cls, requests: Sequence[Asked]) -> _Part:
        return cls(
            float(sum(sum(request.read) for request in requests)),
            float(sum(request.written for request in requests)),
            sum(request.seconds for request in requests),
        )

    @property
    def pace(self) -> float:
        """Seconds a token."""
        return self.seconds / (self.read + self.written)


def speed_of(requests: Sequence[Asked]) -> Speed | None:
    """requests: in the order in which they were answered; None where they tell nothing."""
    runs: dict[str, list[Asked]] = {}
    for request in requests:
        runs.setdefault(request.run, []).append(request)
    first: list[_Part] = []
    rest: list[list[Asked]] = []
    together = _came_together([request.seconds for each in runs.values() for request in each[1:]])
    for each in runs.values():
        parts = _parts(each, together)
        first.append(_Part.of(parts[0]))
        rest += parts[1:]
    if not together:
        flat = [request for part in rest for request in part]
        size = max(1, -(-len(flat) // _PARTS))
        rest = [flat[start : start + size] for start in range(0, len(flat), size)]
    speed = _speed([_Part.of(part) for part in rest]) or _speed(first)
    if speed is None or not rest:
        return speed
    waits = [max(part.seconds - speed.seconds(part.read, part.written), 0.0) for part in first]
    return Speed(speed.a_prompt_token, speed.a_output_token, median(waits), speed.apart)


def _came_together(seconds: Sequence[float]) -> float | None:
    """Where answers came several at a time: less than these seconds after one before, one came together with it. The
    first of those that came together took longer than the mean, since the others took next to nothing."""
    if len(seconds) < _FEWEST:
        return None
    least, mean = quantiles(seconds, n=4)[0], sum(seconds) / len(seconds)
    return mean if least < min(_TOGETHER * mean, _TOGETHER_S) else None


def _parts(requests: Sequence[Asked], together: float | None) -> list[list[Asked]]:
    """The requests as they came."""
    parts: list[list[Asked]] = []
    for request in requests:
        if parts and together is not None and request.seconds < together:
            parts[-1].append(request)
        else:
            parts.append([request])
    return parts


def _speed(parts: Sequence[_Part]) -> Speed | None:
    parts = [part for part in parts if part.seconds > 0 and part.read + part.written > 0]
    if not parts:
        return None
    usual = _DISTURBED * median(part.pace for part in parts)
    parts = [part for part in parts if part.pace <= usual]
    rates = two_rates([(part.read, part.written, part.seconds) for part in parts])
    if rates is not None:
        return Speed(*rates, apart=True)
    pace = sum(part.seconds for part in parts) / sum(part.read + part.written for part in parts)
    return Speed(pace, pace)
