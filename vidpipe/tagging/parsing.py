"""Reads rules files as JSON or YAML, strictly: what is ambiguous, or large out of proportion, is an error."""

import json
import re
from collections.abc import Hashable
from typing import Any, NoReturn

import yaml
from yaml.composer import Composer

from vidpipe.errors import SettingsError

_YAML = (".yaml", ".yml")
_DEEPEST = 40
_LONGEST_YAML = 1_000_000  # takes many times as long as JSON


def is_yaml(shown: str) -> bool:
    """Return whether a file of this name is YAML; others are JSON."""
    return shown.lower().endswith(_YAML)


def parse_document(text: str, shown: str) -> Any:
    """Return what is in a JSON or YAML file. Raises SettingsError."""
    return _parse_yaml(text, shown) if is_yaml(shown) else parse_json(text, shown)


def parse_json(text: str, shown: str) -> Any:
    """Return the JSON in `text`; duplicate keys, NaN and Infinity are errors.

    Raises:
        SettingsError: It is invalid; the message names file, line and column.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise SettingsError(f'{shown}: duplicate key "{key[:80]}" in one object.', "Remove one of them.")
            found[key] = value
        return found

    def no_constant(name: str) -> NoReturn:
        raise SettingsError(f"{shown}: {name} cannot be compared with.", "Write a finite number.")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        raise SettingsError(
            f"{shown}, line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}.",
            'JSON allows no comments and no comma after the last entry; use a "note" key for remarks.',
        ) from None
    except (RecursionError, ValueError) as error:
        raise SettingsError(f"{shown} cannot be read as JSON: {error}.") from None


def _parse_yaml(text: str, shown: str) -> Any:
    if len(text) > _LONGEST_YAML:
        raise SettingsError(f"{shown} has more than {_LONGEST_YAML:,} characters.", "Divide it, or write it as JSON.")
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        hint = "Indent with spaces, and put text with special characters between quotation marks."
        raise SettingsError(f"{shown}{where}: not valid YAML: {error.problem}.", hint) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SettingsError(f"{shown} cannot be read as YAML: {str(error)[:200]}.") from None


class _Loader(Composer, yaml.CSafeLoader):
    """YAML 1.2 without aliases, which could make a small text large, and without duplicate keys.

    Only true, false, null and plain numbers are no text: `no` is the code of a language, 2024-01-01 a word.
    """

    levels = 0

    def __init__(self, text: str) -> None:
        Composer.__init__(self)
        yaml.CSafeLoader.__init__(self, text)

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.levels += 1
        if self.check_event(yaml.AliasEvent) or self.levels > _DEEPEST:
            mark: Any = getattr(self.peek_event(), "start_mark", None)
            problem = "too many levels" if self.levels > _DEEPEST else "aliases (*name) are not allowed"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key in seen:
                what = "duplicate key" if key in seen else "a key must be text; put it between quotation marks:"
                raise yaml.MarkedYAMLError(problem=f'{what} "{str(key)[:80]}"', problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", "true|false|True|False|TRUE|FALSE", "tfTF"),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", "[-+]?(0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
