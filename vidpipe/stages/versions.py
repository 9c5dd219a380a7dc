"""What "current" means: hashes of what a result was made from, and of the result itself.

    spec          what is the same for the whole library: stage code version, its settings, its resources
    inputs        the data version of each field that the stage read, per video
    data version  hash of one field of a result, canonically written

A result is current while spec and inputs equal today's. A setting that a stage reads without declaring it would not be
part of its spec, so changing it would leave outdated results: reading one raises.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from enum import Enum
from operator import attrgetter
from pathlib import PurePath
from typing import Any, cast

from pydantic import BaseModel

from vidpipe.settings import Settings
from vidpipe.stages.contract import Stage

#: stage -> field -> data version
Inputs = dict[str, dict[str, str]]

#: The version of a field that is not versioned (see `StageResult.unversioned`).
UNVERSIONED = "-"
#: Every stage may read these: where files are stored does not change a result.
_PATHS = frozenset({"home", "resolve", "relative", "media_directory", "derived_directory", "models_directory"})


def canonical(value: Any) -> Any:  # noqa: PLR0911 - one return a type
    """Return `value` as plain JSON types in one canonical form: models become objects, sets sorted lists.

    Raises:
        TypeError: A value has no canonical form.
        ValueError: A number is NaN or infinite.
    """
    if isinstance(value, Enum):
        return canonical(value.value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no canonical form")
        return int(value) if value.is_integer() else value
    if isinstance(value, BaseModel):
        return canonical(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): canonical(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, set | frozenset):
        return sorted((canonical(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no canonical form")


def fingerprint(value: Any) -> str:
    """Return the first 16 hex digits of the sha256 of the canonical form of `value`."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def setting(settings: Settings, dotted: str) -> Any:
    """Return the value of a dotted name such as `scene_detection.threshold`."""
    return attrgetter(dotted)(settings)


def spec_of(stage: Stage, settings: Settings, resources: Mapping[str, Any]) -> str:
    """Return the spec of a stage with `settings` and the built resources it declares."""
    return fingerprint(
        {
            "stage": stage.name,
            "code": stage.code_version,
            "reads": stage.all_reads,
            "settings": {name: setting(settings, name) for name in stage.settings},
            "resources": {name: resources[name].version for name in stage.resources},
        }
    )


def spec_parts(stage: Stage, settings: Settings, resources: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of a stage's spec: `code`, `settings.<name>`, `resources.<name>`, `analyses.<name>` -> version.

    Comparing the parts of two specs shows what changed.
    """
    return {
        "code": stage.code_version,
        **{f"settings.{name}": fingerprint(setting(settings, name)) for name in stage.settings},
        **{f"resources.{name}": resources[name].version for name in stage.resources},
        **{f"analyses.{name.partition('.')[0]}": "read" for name in stage.optional_reads if "ingest." not in name},
    }


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
