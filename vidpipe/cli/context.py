"""The context of a command: global options, settings and the open library."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vidpipe.cli.exit_handlers import exit_before_pymongo
from vidpipe.errors import SettingsError, UnavailableError

if TYPE_CHECKING:
    from vidpipe.library.library import Library
    from vidpipe.operations.kept_home import KeptHome, OpenHome
    from vidpipe.runner.plan import Plan
    from vidpipe.settings import LoadedSettings, Settings


@dataclass(frozen=True)
class CommandContext:
    """The global options of one command, or of all in a session of `vidpipe shell`.

    Attributes:
        kept: The library that the session keeps open.
    """

    home: Path | None = None
    config: Path | None = None
    log_level: str | None = None
    kept: KeptHome | None = None

    def load(self, overrides: Mapping[str, Any] | None = None, standalone: Path | None = None) -> LoadedSettings:
        """Return the effective settings and configure logging. Raises SettingsError."""
        from vidpipe.settings import configure_logging, load, notice

        given = {"logging.level": self.log_level, **(overrides or {})}
        loaded = load(self.home, config=self.config, overrides=given, standalone=standalone)
        configure_logging(loaded.settings)
        for sentence in loaded.notices:
            notice(sentence)
        return loaded


def user_name() -> str:
    """Return who calls vidpipe: the number of a user without a name, as containers may have."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def command_context(context: typer.Context) -> CommandContext:
    """Return the global options stored by the application's callback."""
    return context.obj if isinstance(context.obj, CommandContext) else CommandContext()


@dataclass(frozen=True)
class OpenLibrary:
    """An open library with its settings.

    Attributes:
        plan: All stages under the current settings, which tells how current each video is.
        kept: The same, with its search index, if it stays open after the command.
    """

    settings: Settings
    library: Library
    plan: Plan
    kept: OpenHome | None = None


@contextmanager
def open_library(context: typer.Context, overrides: Mapping[str, Any] | None = None) -> Iterator[OpenLibrary]:
    """Open the library, or use the one that is kept open. MongoDB errors inside the block are raised as VidpipeErrors.

    Options that override settings open one of their own.
    """
    call = command_context(context)
    opening: AbstractContextManager[OpenLibrary]
    if call.kept is not None and all(value is None for value in (overrides or {}).values()):
        kept = call.kept.opened()
        settings, opening = kept.settings, nullcontext(OpenLibrary(kept.settings, kept.library, kept.plan, kept))
    else:
        settings = call.load(overrides).settings
        opening = _opened(settings)
    try:
        with opening as opened, opened.library.connection.errors_explained():
            yield opened
    except (UnavailableError, SettingsError):
        raise
    except Exception as error:
        # MongoDB, Dagster's SQLite and files each report a full disk in their own words.
        full = full_disk(settings)
        if full is not None:
            raise full from error
        raise


@contextmanager
def _opened(settings: Settings) -> Iterator[OpenLibrary]:
    from vidpipe.library.library import Library
    from vidpipe.runner.plan import Plan
    from vidpipe.stages.registry import build_graph

    exit_before_pymongo()
    graph = build_graph(settings)
    plan = Plan.make(graph, settings)
    try:
        with Library.open(settings, graph) as library:
            yield OpenLibrary(settings, library, plan)
    finally:
        plan.close()


def full_disk(settings: Settings) -> UnavailableError | None:
    """Return an error naming the first disk of the home without free space; None if all have some."""
    from vidpipe.library.embedded import MIN_FREE_BYTES

    for folder in (settings.data_directory, settings.media_directory, settings.derived_directory):
        free = shutil.disk_usage(folder).free if folder.is_dir() else MIN_FREE_BYTES
        if free < MIN_FREE_BYTES:
            return UnavailableError(
                f"The disk of {folder} is full ({free / 1e6:.0f} MB free); finished results are stored.",
                "Free space and re-run the command: it resumes where it stopped.",
            )
    return None
