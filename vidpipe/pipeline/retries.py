"""When a step is tried again as a whole: MongoDB was away for longer than a run rides out, and may be back in a moment.

A video that failed is no reason; its own next try is remembered in the library. No retry policy is set on steps: with
one, Dagster repeats a run that somebody stopped, too.
"""

from __future__ import annotations

import dagster as dg

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.library.embedded import FullDiskError

_MOST_RETRIES = 2
_FIRST_WAIT_S = 15.0


def may_pass(error: VidpipeError) -> bool:
    """Whether the same step may succeed a little later without anybody doing anything."""
    return isinstance(error, UnavailableError) and not isinstance(error, FullDiskError)


def retry(retries_before: int) -> dg.RetryRequested:
    """To be raised from a dg.Failure, which shows in Dagster after the last retry. Waits 15 s, then 30 s."""
    return dg.RetryRequested(max_retries=_MOST_RETRIES, seconds_to_wait=_FIRST_WAIT_S * 2**retries_before)
