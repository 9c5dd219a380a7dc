"""The time of the MongoDB server, by which all machines that share a library date what they store.

Their own clocks may be minutes apart. The server's time is read when a connection is opened, and again while leases are
renewed; in between, a clock counts that nobody sets.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any


def _ticks_s() -> float:
    """Return a time that no clock setting changes; where the system has one, it goes on while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


#: The server's time, and `_ticks_s` then.
_BASE = [(datetime.now(UTC), _ticks_s())]


def synchronize(client: Any) -> None:
    """Read the time of the server; of the primary, if it is a replica set."""
    began_s = _ticks_s()
    said: datetime = client.admin.command("hello")["localTime"]
    _BASE[0] = said.replace(tzinfo=UTC), (began_s + _ticks_s()) / 2


def now() -> datetime:
    """Return the server's time in UTC; until a connection has been opened, this machine's."""
    base, base_s = _BASE[0]
    return base + timedelta(seconds=_ticks_s() - base_s)
