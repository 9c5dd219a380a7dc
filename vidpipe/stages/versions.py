"""What "current" means: hashes of what a result was made from, and of the result itself.

    spec          what is the same for the whole library: stage code version, its settings, its resources
    inputs        the data version of each field that the stage read, per video
    data version  hash of one field of a result, canonically written

A result is current while spec and inputs equal today's.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

#: stage -> field -> data version
Inputs = dict[str, dict[str, str]]

#: The version of a field that has no version of its own (see `StageResult.unversioned`).
UNVERSIONED = "-"


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
