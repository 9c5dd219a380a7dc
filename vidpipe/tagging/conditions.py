"""One entry of `metadata_conditions`, such as `"duration_gt": 600`: parsed, tested and described."""

import json
import math
import operator
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.fields import FIELD_NAMES, STANDARD_RANGE, FieldSpec
from vidpipe.tagging.logic import Truth
from vidpipe.text.messages import did_you_mean

Scalar = str | float | bool

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "_gt": operator.gt,
    "_gte": operator.ge,
    "_lt": operator.lt,
    "_lte": operator.le,
}
_SIGNS = {"_gt": "above", "_gte": "at least", "_lt": "below", "_lte": "at most"}
_SUFFIXES = ("_not", "_in", *_COMPARISONS)
_TOO_LARGE = 1e15
#: Kind of an answer to a question, which may have another form than a rule expects -> its type.
_TYPES: dict[str, Any] = {"number": int | float, "flag": bool, "names": tuple}


@dataclass(frozen=True)
class Condition:
    """A comparison of one field, normalized.

    Attributes:
        spec: The field.
        operator: "" (equals one of), "_not" (equals none of), "_gt", "_gte", "_lt" or "_lte".
        values: What to compare with; one value unless the operator is "" or "_not".
        test: Returns whether a known value of the field satisfies the condition.
    """

    spec: FieldSpec
    operator: str
    values: tuple[Scalar, ...]
    test: Callable[[Any], bool]

    def holds(self, facts: RuleFacts) -> bool:
        """Return whether the condition is satisfied; never if the field is unknown."""
        return self.truth(facts) is True

    def truth(self, facts: RuleFacts) -> Truth:
        """Return whether the condition is satisfied; None: the field is unknown."""
        value = facts.value(self.spec)
        return None if value is None else self.test(value)

    @property
    def key(self) -> str:
        """Its key in a rules file."""
        return self.spec.name + self.operator

    @property
    def value(self) -> Any:
        """Its value in a rules file."""
        return self.values[0] if len(self.values) == 1 else list(self.values)

    @cached_property
    def asks(self) -> str:
        """What it requires, in words: `above 600 s`, `4K or 8K`, `not portrait`."""
        unit = self.spec.unit
        wanted = " or ".join(_shown(value, unit) for value in self.values)
        if self.operator == "_not":
            return f"not {wanted}"
        return f"{_SIGNS[self.operator]} {wanted}" if self.operator else wanted

    def found(self, facts: RuleFacts) -> str:
        """Return the value of the field in words: `725.3 s`, `eng and deu`, `not known`."""
        value = facts.value(self.spec)
        if value is None:
            return "not known"
        if isinstance(value, tuple | Set):
            return " and ".join(value if isinstance(value, tuple) else sorted(value)) or "none"
        return _shown(value, self.spec.unit)


def parse_conditions(source: dict[str, Any], names: Mapping[str, FieldSpec] = FIELD_NAMES) -> tuple[Condition, ...]:
    """Return the conditions of one `metadata_conditions` object, sorted by key; all of them must hold.

    Args:
        source: Key -> value.
        names: Name or alias -> field of the fields that conditions can check.

    Raises:
        ValueError: One is invalid; the message names the key, what was found and what is allowed.
    """
    conditions: dict[str, Condition] = {}
    for key, value in source.items():
        condition = parse_condition(key, value, names)
        if condition.key in conditions:
            raise ValueError(f'"{key}" duplicates another condition ({condition.key}): remove one of them')
        conditions[condition.key] = condition
    return tuple(conditions[key] for key in sorted(conditions))


def parse_condition(key: str, value: Any, names: Mapping[str, FieldSpec] = FIELD_NAMES) -> Condition:
    """Return one condition; arguments as for `parse_conditions`. Raises ValueError with a message for the user."""
    spec, suffix = _split(key, names)
    if suffix not in spec.operators:
        allowed = ", ".join(spec.name + other for other in spec.operators)
        raise ValueError(f'"{key}": {spec.name} cannot be compared with {suffix}; allowed are {allowed}')
    return make_condition(spec, suffix, key, value)


def make_condition(spec: FieldSpec, suffix: str, key: str, value: Any) -> Condition:
    """Return the condition on a field.

    Args:
        spec: The field.
        suffix: One of its `operators`.
        key: What error messages call it.
        value: What to compare with.

    Raises:
        ValueError: The value is invalid; the message is for the user.
    """
    if isinstance(value, list):
        if suffix in _COMPARISONS:
            raise ValueError(f'"{key}" takes one value, not a list')
        if not value:
            raise ValueError(f'"{key}" is an empty list')
    elif suffix == "_in":
        raise ValueError(f'"{key}" takes a list, such as [{_example_of(spec)}]; found {as_found(value)}')
    given = value if isinstance(value, list) else [value]
    parsed = {_value(spec, key, item) for item in given}
    values = tuple(sorted(parsed, key=lambda item: (isinstance(item, str), item)))
    relation = "" if suffix == "_in" else suffix
    test = _test(spec, relation, values)
    kind = _TYPES.get(spec.kind) if spec.name.startswith("answers.") else None
    return Condition(
        spec, relation, values, test if kind is None else lambda found: isinstance(found, kind) and test(found)
    )


def _split(key: str, names: Mapping[str, FieldSpec]) -> tuple[FieldSpec, str]:
    if key in names:
        return names[key], ""
    for suffix in _SUFFIXES:
        name = key.removesuffix(suffix)
        if name != key and name in names:
            return names[name], suffix
    known = [name + suffix for name, spec in names.items() for suffix in spec.operators]
    near = did_you_mean(key, known) or f"; fields are {', '.join(dict.fromkeys(spec.name for spec in names.values()))}"
    raise ValueError(f'"{key}" is not a condition{near}')


def _value(spec: FieldSpec, key: str, value: Any) -> Scalar:
    match spec.kind:
        case "flag":
            if not isinstance(value, bool):
                raise ValueError(f'"{key}" takes true or false; found {as_found(value)}')
            return value
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                unit = f" ({spec.unit})" if spec.unit else ""
                quoted = ", without quotes" if isinstance(value, str) else ""
                raise ValueError(f'"{key}" takes a number{unit}{quoted}; found {as_found(value)}')
            if not abs(value) < _TOO_LARGE:
                raise ValueError(f'"{key}" takes a finite number below 1e15; found {str(value)[:40]}')
            return int(value) if isinstance(value, float) and value.is_integer() else value
        case "hdr" if isinstance(value, bool):
            return value
    if not isinstance(value, str) or not value.strip():
        hint = " or true or false" if spec.kind == "hdr" else ""
        raise ValueError(f'"{key}" takes a name, such as "{_example_of(spec)}"{hint}; found {as_found(value)}')
    name = spec.canonical(value)
    if spec.allowed and name not in spec.allowed:
        allowed = ", ".join(spec.allowed)
        size = "; for an exact size use width and height" if spec.name == "resolution" else ""
        raise ValueError(
            f'"{key}": "{value}" is not a known {spec.name}{did_you_mean(name, spec.allowed)}; '
            f"allowed are {allowed}{size}"
        )
    return name


def _test(spec: FieldSpec, relation: str, values: tuple[Scalar, ...]) -> Callable[[Any], bool]:
    if relation in _COMPARISONS:
        compare, limit = _COMPARISONS[relation], values[0]
        if spec.ordered:
            rank = {name: position for position, name in enumerate(spec.allowed)}
            wanted = rank[str(limit)]
            return lambda value: value in rank and compare(rank[value], wanted)
        return lambda value: compare(value, limit)
    equals = _equals(spec, frozenset(values))
    return (lambda value: not equals(value)) if relation == "_not" else equals


def _equals(spec: FieldSpec, wanted: frozenset[Scalar]) -> Callable[[Any], bool]:
    if spec.kind == "names":
        return lambda value: not wanted.isdisjoint(value)
    if spec.kind == "hdr":
        flags = {value for value in wanted if isinstance(value, bool)}
        return lambda value: value in wanted or (value != STANDARD_RANGE) in flags
    if spec.kind == "number":
        # Measured rates are fractions: 29.97 is meant to match 30000/1001. Whole numbers match exactly.
        return lambda value: (
            value in wanted
            or (isinstance(value, float) and any(math.isclose(value, float(one), rel_tol=5e-4) for one in wanted))
        )
    return lambda value: value in wanted


def _example_of(spec: FieldSpec) -> str:
    return spec.allowed[0] if spec.allowed else {"video_codec": "h264", "container": "mov"}.get(spec.name, "...")


def is_container(value: Any) -> bool:
    """Return whether a value of a rules file has entries of its own."""
    return isinstance(value, dict | list)


def as_found(value: Any) -> str:
    """Return an invalid value for an error message."""
    if is_container(value):
        return "an object" if isinstance(value, dict) else "a list"
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)[:80]


def _shown(value: Any, unit: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        value = f"{value:.3f}".rstrip("0").rstrip(".")
    return f"{value} {unit}".strip()
