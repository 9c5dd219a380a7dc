"""How often, and when, what failed is tried again by itself: transient failures, ever more seldom, not for ever."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from vidpipe.stages.contract import StageError
from vidpipe.stages.versions import Inputs

_WAITS = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6))
#: After as many transient failures in a row, under the same spec and inputs, the failure is final.
MOST_ATTEMPTS = 8


def attempts_before(entry: Mapping[str, Any], spec: str, inputs: Inputs) -> int:
    """Failures in a row that a `stages.<name>` entry tells of. Another spec, other inputs, and whoever has a failure
    tried again that had become final begin anew.
    """
    if entry.get("spec") != spec or entry.get("inputs") != inputs:
        return 0
    attempts = int(entry.get("attempts", 0))
    was_final = attempts >= MOST_ATTEMPTS and entry.get("error", {}).get("transient")
    return 0 if was_final else attempts


def next_try(error: StageError, attempts: int) -> tuple[StageError, timedelta | None]:
    """The error as it is stored after so many attempts, and how long to wait for the next one; None: there is none."""
    if not error.transient:
        return error, None
    if attempts < MOST_ATTEMPTS:
        return error, _WAITS[min(attempts, len(_WAITS)) - 1]
    final = f"It was tried {attempts} times and is not tried again by itself; `vidpipe run --retry` does."
    return StageError(error.message, f"{error.hint} {final}".strip(), transient=True), None
