"""The settings of a stage: those it declares, and no others.

An undeclared setting would not be part of the stage's spec, so changing it would leave results stale without anybody
noticing. Reading one therefore raises.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from pydantic import BaseModel

from vidpipe.settings import Settings

#: Every stage may read these: where files are stored does not change a result.
_PATHS = frozenset({"home", "resolve", "relative", "media_directory", "derived_directory"})


class UndeclaredSettingError(LookupError):
    """A stage read a setting that it declares neither in `settings` nor in `environment`."""


def declared_settings(settings: Settings, declared: Iterable[str], stage: str) -> Settings:
    """Return `settings` limited to the `declared` names, for the stage called `stage`.

    Reading any other raises UndeclaredSettingError.
    """
    return cast(Settings, _DeclaredSettings(settings, declared, stage))


class _DeclaredSettings:
    """A view of `Settings` limited to what one stage declares.

    Attributes are read as from `Settings`: `view.scene_detection.threshold`, `view.resolve(path)`. A declared section
    ("limits") is passed on whole.
    """

    def __init__(self, settings: Any, declared: Iterable[str], stage: str, section: str = "") -> None:
        self._settings = settings
        self._declared = frozenset(declared)
        self._stage = stage
        self._section = section

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        dotted = f"{self._section}{name}"
        if dotted in self._declared or dotted in _PATHS:
            return getattr(self._settings, name)
        value = getattr(self._settings, name, None)
        if isinstance(value, BaseModel):
            return _DeclaredSettings(value, self._declared, self._stage, f"{dotted}.")
        raise UndeclaredSettingError(
            f"The stage {self._stage} reads the setting {dotted}, which it does not declare. Add it to `settings` of "
            "the stage if it changes results, otherwise to `environment`."
        )


def setting(settings: Settings, dotted: str) -> Any:
    """Return the value of a dotted name such as `scene_detection.threshold`."""
    value: Any = settings
    for part in dotted.split("."):
        value = getattr(value, part)
    return value
