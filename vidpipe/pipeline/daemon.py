"""Dagster's daemon (`python -m vidpipe.pipeline.daemon run …`), which looks after backfills every few seconds.

Dagster itself looks every 30 s, and nothing configures that: a backfill from the page would begin after up to half a
minute, and each of its steps wait as long for the next.
"""

from __future__ import annotations

from dagster._daemon import controller
from dagster._daemon.cli import main

_BACKFILLS_EVERY_S = 5


def run() -> None:
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = _BACKFILLS_EVERY_S
    main()


if __name__ == "__main__":
    run()
