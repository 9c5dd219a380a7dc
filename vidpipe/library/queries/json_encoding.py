"""Documents as JSON. Separate from the queries, so that the commands can print JSON without loading pymongo."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from vidpipe.errors import UNSAFE


def to_json(value: object, indent: int | None = None) -> bytes:
    r"""Return JSON in UTF-8.

    Times are ISO 8601 in UTC, NaN and infinity null; `UNSAFE` characters are written as \uXXXX.
    """
    text = json.dumps(jsonable(value), ensure_ascii=False, indent=indent, allow_nan=False)
    escaped = UNSAFE.sub(
        lambda found: found.group() if found.group() == "\n" else json.dumps(found.group())[1:-1], text
    )
    return escaped.encode()


def jsonable(value: Any) -> Any:
    """Return `value` as JSON types; anything else becomes its text."""
    if isinstance(value, Mapping):
        return {str(name): jsonable(entry) for name, entry in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, Sequence | set | frozenset):
        return [jsonable(entry) for entry in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return value.as_posix() if isinstance(value, PurePath) else str(value)
