"""Dagster's daemon, which looks after backfills every few seconds.

Dagster itself looks every 30 s, and nothing configures that: a backfill from the page would begin after up to half a
minute, and each of its steps wait as long for the next.
"""

from __future__ import annotations

from dagster._daemon import cli, controller

_BACKFILLS_EVERY_S = 5


def main() -> None:
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = _BACKFILLS_EVERY_S
    cli.main()
