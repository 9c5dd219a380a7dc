"""What every command begins with: the global options, the settings they lead to, and the open library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from vidpipe.library.library import Library
    from vidpipe.runner.plan import Plan
    from vidpipe.settings import LoadedSettings, Settings


@dataclass(frozen=True)
class Call:
    """The global options of one call."""

    home: Path | None = None
    config: Path | None = None
    log_level: str | None = None

    def load(self, overrides: Mapping[str, Any] | None = None) -> LoadedSettings:
        """The effective settings, with logging set up as they say. Raises SettingsError."""
        from vidpipe.settings import configure_logging, load

        loaded = load(self.home, config=self.config, overrides={"logging.level": self.log_level, **(overrides or {})})
        configure_logging(loaded.settings)
        return loaded


def call_of(context: typer.Context) -> Call:
    return context.obj if isinstance(context.obj, Call) else Call()


@dataclass(frozen=True)
class Opened:
    """plan: all stages under today's settings, so that it is known how current each video is"""

    settings: Settings
    library: Library
    plan: Plan


@contextmanager
def opened(context: typer.Context, overrides: Mapping[str, Any] | None = None) -> Iterator[Opened]:
    """The library of this call. Errors of MongoDB inside come out as VidpipeErrors."""
    from vidpipe.library.library import Library
    from vidpipe.runner.plan import Plan
    from vidpipe.stages.registry import GRAPH

    settings = call_of(context).load(overrides).settings
    plan = Plan.make(GRAPH, settings)
    try:
        with Library.open(settings, GRAPH) as library, library.connection.errors_explained():
            yield Opened(settings, library, plan)
    finally:
        plan.close()
