"""The library as a Dagster resource. There is no dagster-mongo; this is it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import Field

from vidpipe.library.library import Library
from vidpipe.settings import Settings, load
from vidpipe.stages.graph import StageGraph


class LibraryResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """MongoDB as the settings of a home name it. Only the home is Dagster's to know: addresses and passwords stay in
    the settings, which each run reads anew."""

    home: str = Field(description="the vidpipe home, the folder of config.ini")

    def settings(self) -> Settings:
        """Today's settings of the home. Raises SettingsError for what is wrong in config.ini."""
        return load(Path(self.home)).settings

    @contextmanager
    def opened(self, graph: StageGraph, settings: Settings | None = None) -> Iterator[Library]:
        """The library of `graph`, closed on leaving. Raises UnavailableError if MongoDB cannot be reached."""
        with Library.open(settings or self.settings(), graph) as library:
            yield library


def library_of(home: Path) -> dg.ResourceDefinition:
    """The library of `home` as a resource without config, so that a run cannot name another home: with that home's
    settings, the access key of this one would be sent to whatever endpoint they name."""
    return dg.ResourceDefinition(lambda _: LibraryResource(home=str(home)), config_schema={})
