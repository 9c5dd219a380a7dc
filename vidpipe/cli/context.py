"""What every command begins with: the global options, the settings they lead to, and the open library."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vidpipe.errors import SettingsError, UnavailableError

if TYPE_CHECKING:
    from vidpipe.library.library import Library
    from vidpipe.runner.plan import Plan
    from vidpipe.settings import LoadedSettings, Settings


@dataclass(frozen=True)
class CommandContext:
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


def command_context(context: typer.Context) -> CommandContext:
    return context.obj if isinstance(context.obj, CommandContext) else CommandContext()


@dataclass(frozen=True)
class OpenLibrary:
    """plan: all stages under today's settings, so that it is known how current each video is"""

    settings: Settings
    library: Library
    plan: Plan


@contextmanager
def open_library(context: typer.Context, overrides: Mapping[str, Any] | None = None) -> Iterator[OpenLibrary]:
    """The library of this call. Errors of MongoDB inside come out as VidpipeErrors."""
    from vidpipe.library.library import Library
    from vidpipe.runner.plan import Plan
    from vidpipe.stages.registry import GRAPH

    settings = command_context(context).load(overrides).settings
    plan = Plan.make(GRAPH, settings)
    try:
        with Library.open(settings, GRAPH) as library, library.connection.errors_explained():
            yield OpenLibrary(settings, library, plan)
    except (UnavailableError, SettingsError):
        raise
    except Exception as error:
        # A full disk comes out of MongoDB, of Dagster's SQLite and of files in as many words.
        full = full_disk(settings)
        if full is not None:
            raise full from error
        raise
    finally:
        plan.close()


def full_disk(settings: Settings) -> UnavailableError | None:
    """The error that names the first of the home's disks without room; None where all have some."""
    from vidpipe.library.embedded import MIN_FREE_BYTES

    for folder in (settings.data_directory, settings.media_directory, settings.derived_directory):
        free = shutil.disk_usage(folder).free if folder.is_dir() else MIN_FREE_BYTES
        if free < MIN_FREE_BYTES:
            return UnavailableError(
                f"The disk of {folder} is full ({free / 1e6:.0f} MB free); what was finished is stored.",
                "Make room there and give the command again: it continues where it stopped.",
            )
    return None
