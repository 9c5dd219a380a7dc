"""Riding out a server that goes away for a while in the middle of a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from vidpipe.errors import DamagedError, UnavailableError, VidpipeError
from vidpipe.library.connection import Connection
from vidpipe.library.connection_errors import passes
from vidpipe.library.embedded import FullDiskError

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_LONGEST_OUTAGE_S = 60.0
#: Errors that do not pass by waiting.
_LASTING = (FullDiskError, DamagedError)


def ride_out(connection: Connection, operation: Callable[[], Result]) -> Result:
    """`operation`, repeated while the server is away or its replica set chooses a primary, for a minute at most. It
    must be safe to repeat.

    An embedded server that died is started again. Raises UnavailableError, naming the server, when it stays away;
    other errors of the server come as VidpipeErrors that say what to do.
    """
    began = time.monotonic()
    wait_s = 0.2
    while True:
        try:
            with connection.errors_explained():
                return operation()
        except VidpipeError as error:
            lasts = isinstance(error, _LASTING) or not passes(error.__cause__)
            if lasts or time.monotonic() - began > _LONGEST_OUTAGE_S:
                raise
            log.warning("MongoDB at %s is away (%s); trying again", connection.host, type(error.__cause__).__name__)
            time.sleep(wait_s)
            wait_s = min(wait_s * 2, 5.0)
            try:
                connection.ensure_server()
            except UnavailableError as unavailable:
                if isinstance(unavailable, _LASTING) or time.monotonic() - began > _LONGEST_OUTAGE_S:
                    raise
                log.warning("%s", unavailable.message)
