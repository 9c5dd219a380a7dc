"""Installed plugins: the entry points in the group `vidpipe.stages`, and their sections of config.ini.

An entry point's name is the name of the plugin's stage and of its section: "logo_finder", [LogoFinder]. Entry points
are looked up only if a name in [Analyses] Enabled, or a section, is not vidpipe's own. A plugin's code is imported only
if it is enabled.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from pydantic import create_model

from vidpipe import __version__
from vidpipe.errors import UnavailableError, visible
from vidpipe.settings.operation import Section
from vidpipe.settings.schema import Settings

GROUP = "vidpipe.stages"
_MAX_REASON = 500


class PluginError(UnavailableError):
    """A plugin cannot be used. The rest of vidpipe works without it."""


@dataclass(frozen=True)
class Plugin:
    """One entry point of an installed package.

    Attributes:
        entry_point: What to load; its name is that of the stage.
        package: The package.
        version: The package's version.
    """

    entry_point: metadata.EntryPoint
    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.entry_point.name} ({self.package} {self.version})"

    def fault(self, reason: object) -> PluginError:
        """Return the error that the plugin cannot be used."""
        said = visible(f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else str(reason))
        return PluginError(
            f"The plugin {self} cannot be used: {said[:_MAX_REASON].rstrip('.')}.",
            f"Install a version of {self.package} that fits vidpipe {__version__} (`pip install --upgrade "
            f"{self.package}`), or remove {self.entry_point.name} from Enabled of [Analyses].",
        )

    def load(self) -> Any:
        """Return the object that the entry point names, or what it returns if it is a function.

        Raises:
            PluginError: It fails.
        """
        try:
            return _loaded(self.entry_point)
        except (Exception, SystemExit) as error:
            raise self.fault(error) from error

    def section_class(self) -> type[Section] | None:
        """Return the class of its section of config.ini; None if it has none.

        Raises:
            PluginError: It cannot be loaded, or its class is not one of a section.
        """
        found, name = getattr(self.load(), "settings", None), section_name(self.entry_point.name)
        if found is None:
            return None
        if not (isinstance(found, type) and issubclass(found, Section) and found.__name__ == name):
            raise self.fault(f"its settings must be a subclass of Section called {name}")
        if self.entry_point.name in Settings.model_fields:
            raise self.fault(f"the section [{name}] is vidpipe's own")
        try:
            found()
        except ValueError as error:
            raise self.fault(f"[{name}] has a key without a valid default: {error}") from error
        return found


@functools.cache
def _loaded(entry_point: metadata.EntryPoint) -> Any:
    value = entry_point.load()
    return value() if callable(value) else value


@functools.cache
def installed_plugins() -> Mapping[str, Plugin]:
    """Return name -> plugin of all installed packages, enabled or not. Nothing of them is imported."""
    return {
        found.name: Plugin(
            found, found.dist.name if found.dist else "unknown", found.dist.version if found.dist else ""
        )
        for found in metadata.entry_points(group=GROUP)
    }


def section_name(plugin: str) -> str:
    """Return the section of config.ini of a plugin: LogoFinder for logo_finder."""
    return "".join(part.capitalize() for part in plugin.split("_"))


def is_of_plugin(section: str, enabled: Iterable[str]) -> bool:
    """Return whether a section belongs to a plugin that is installed, or that `enabled` names all the same."""
    return section.lower() in {section_name(plugin).lower() for plugin in (*enabled, *installed_plugins())}


def with_plugin_sections(names: Iterable[str]) -> type[Settings]:
    """Return `Settings` with the sections of plugins. One that cannot be used has none."""
    sections: dict[str, type[Section]] = {}
    for name in names:
        plugin = installed_plugins().get(name)
        try:
            section = plugin.section_class() if plugin else None
        except PluginError:  # reported with its stage, see `vidpipe.stages.plugins`
            continue
        if section:
            sections[name] = section
    return _extended(tuple(sections.items())) if sections else Settings


@functools.cache
def _extended(sections: tuple[tuple[str, type[Section]], ...]) -> type[Settings]:
    fields: dict[str, Any] = {name: (section, section()) for name, section in sections}
    return create_model("Settings", __base__=Settings, **fields)
