"""Installed plugins: the entry points in the group `vidpipe.stages`, and their sections of config.ini.

An entry point's name is the name of the plugin's stage and of its section: "logo_finder", [LogoFinder]. Entry points
are looked up only if a name in [Analyses] Enabled, or a section, is not vidpipe's own. A plugin's code is imported only
if it is enabled.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
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
        name: Its name, and that of its stage.
        package: The package.
        version: The package's version.
        entry_point: What to load.
        requires: The package's requirements.
        rivals: Other packages with an entry point of the same name.
    """

    name: str
    package: str
    version: str
    entry_point: metadata.EntryPoint
    requires: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({self.package} {self.version})"

    @property
    def section(self) -> str:
        """Its section of config.ini: LogoFinder for logo_finder."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    def fault(self, reason: object) -> PluginError:
        """Return the error that the plugin cannot be used."""
        said = visible(f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else str(reason))
        return PluginError(
            f"The plugin {self} cannot be used: {said[:_MAX_REASON].rstrip('.')}.",
            f"Install a version of {self.package} that fits vidpipe {__version__} (`pip install --upgrade "
            f"{self.package}`), or remove {self.name} from Enabled of [Analyses].",
        )

    def load(self) -> Any:
        """Return the object that the entry point names, or what it returns if it is a function.

        Raises:
            PluginError: The package is for another version of vidpipe, or it fails.
        """
        if self.rivals:
            raise self.fault(f"{', '.join(self.rivals)} has a plugin of the same name; uninstall one of them")
        for text in self.requires:
            requirement = _requirement(text)
            if requirement and not requirement.specifier.contains(__version__, prereleases=True):
                raise self.fault(f"it requires vidpipe {requirement.specifier}")
        try:
            return _loaded(self.entry_point)
        except (Exception, SystemExit) as error:
            raise self.fault(error) from error

    def section_class(self) -> type[Section] | None:
        """Return the class of its section of config.ini; None if it has none.

        Raises:
            PluginError: It cannot be loaded, or its class is not one of a section.
        """
        found = getattr(self.load(), "settings", None)
        if found is None:
            return None
        if not (isinstance(found, type) and issubclass(found, Section) and found.__name__ == self.section):
            raise self.fault(f"its settings must be a subclass of Section called {self.section}")
        if self.name in Settings.model_fields:
            raise self.fault(f"the section [{self.section}] is vidpipe's own")
        try:
            found()
        except ValueError as error:
            raise self.fault(f"[{self.section}] has a key without a valid default: {error}") from error
        return found


def _requirement(text: str) -> Requirement | None:
    """Return a requirement of vidpipe itself."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return None
    return requirement if requirement.name.lower() == "vidpipe" else None


@functools.cache
def _loaded(entry_point: metadata.EntryPoint) -> Any:
    value = entry_point.load()
    return value() if callable(value) else value


@functools.cache
def installed_plugins() -> Mapping[str, Plugin]:
    """Return name -> plugin of all installed packages, enabled or not. Nothing of them is imported."""
    found: dict[str, Plugin] = {}
    packages: dict[str, list[str]] = {}
    for entry_point in metadata.entry_points(group=GROUP):
        name, package = entry_point.name, entry_point.dist
        shown = package.name if package else "unknown"
        others = packages.setdefault(name, [])
        requires = tuple(package.requires or ()) if package else ()
        version = package.version if package else ""
        found[name] = Plugin(name, shown, version, entry_point, requires, tuple(others))
        others.append(shown)
    return found


def plugin_of_section(section: str) -> Plugin | None:
    """Return the installed plugin that a section of config.ini or of an environment variable belongs to."""
    return next((one for one in installed_plugins().values() if one.section.lower() == section.lower()), None)


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
