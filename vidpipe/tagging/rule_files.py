"""The files in rules/: which of them hold rules, and what is in each.

A file is JSON or YAML: an object with any of the keys `rules`, `categories`, `vocabulary` and `exclusions`, or a list
of rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml._yaml import CParser
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from vidpipe.errors import SettingsError
from vidpipe.safe_files import read_regular_text
from vidpipe.settings import Settings
from vidpipe.tagging.rules_file import APPLIED, approved_texts, entry_place, load_named, parse_json, read_text
from vidpipe.text.messages import did_you_mean

KEYS = ("rules", "categories", "vocabulary", "exclusions")
_YAML = (".yaml", ".yml")
_LONGEST_FILE = 4_000_000
_DEEPEST = 40
_LONGEST_YAML = 1_000_000  # takes many times as long as JSON


@dataclass(frozen=True)
class RuleFile:
    """One file.

    Attributes:
        shown: Its path, relative to the home, as error messages call it.
        text: Its text.
        document: What is in it: key -> value.
    """

    shown: str
    text: str
    document: dict[str, Any]

    @classmethod
    def parse(cls, text: str, shown: str) -> RuleFile:
        """Return the file with this text. Raises SettingsError."""
        if len(text) > _LONGEST_FILE:
            raise SettingsError(f"{shown} has more than {_LONGEST_FILE:,} characters.", "Divide it into several files.")
        text = text.removeprefix("\ufeff")
        document = parse_document(text, shown)
        try:
            json.dumps(document, ensure_ascii=False, default=str).encode()
        except (UnicodeEncodeError, RecursionError, ValueError) as error:
            what = "half of a surrogate pair (\\ud800)" if isinstance(error, UnicodeError) else "too many levels"
            raise SettingsError(f"{shown} contains {what}.", "Write plain UTF-8 text.") from None
        if isinstance(document, list):
            document = {"rules": document}
        if not isinstance(document, dict):
            raise SettingsError(f'{shown}: expected {{"rules": [...]}} or a list of rules.')
        if unknown := sorted(document.keys() - {*KEYS, "note"}):
            near = did_you_mean(unknown[0], KEYS)
            raise SettingsError(
                f'{shown}: "{unknown[0][:80]}" is not a known key{near}; expected the key "rules", or '
                f"{', '.join(KEYS[1:])}."
            )
        return cls(shown, text, document)

    def entries(self, key: str, name: str = "id") -> Iterator[tuple[str, Any]]:
        """Yield (what error messages call it, entry) of a list under `key`. Raises SettingsError."""
        found = self.document.get(key, [])
        if not isinstance(found, list):
            raise SettingsError(f'{self.shown}: "{key}" should be a list of {key}.')
        for number, entry in enumerate(found, 1):
            named = name if isinstance(entry, dict) and name in entry else "name"
            yield entry_place(self.shown, key.removesuffix("s"), number, entry, named), entry

    @property
    def vocabulary(self) -> Sequence[Any]:
        """The vocabulary in it, if any."""
        return [self.document["vocabulary"]] if "vocabulary" in self.document else []


def read_rule_files(settings: Settings) -> list[RuleFile]:
    """Return the files of tag rules in force: that of CustomTagRules, then the others of its folder by name.

    Raises:
        SettingsError: One cannot be read.
    """
    return [RuleFile.parse(text, shown) for shown, text in tag_rule_texts(settings).items()]


def tag_rule_texts(settings: Settings, *, edited: bool = False) -> dict[str, str]:
    """Return what error messages call each file of tag rules, and its text.

    Args:
        settings: The settings.
        edited: The files as they are, though edited rules may wait for approval.

    Raises:
        SettingsError: One cannot be read.
    """
    if not edited and (approved := approved_texts(settings)):
        return {shown: text for shown, text in approved.items() if shown != settings.rules.categories.as_posix()}
    first, text = load_named(settings, "custom_tag_rules", lambda text, shown: (shown, text), edited=True)
    further = further_files(settings)
    return {first: text} | {shown: read_text(path, shown, "CustomTagRules") for path, shown in further}


def rule_texts(settings: Settings, *, edited: bool = False) -> dict[str, str]:
    """Return the same, and the file of categories. Raises SettingsError."""
    texts = tag_rule_texts(settings, edited=edited)
    shown, text = load_named(settings, "categories", lambda text, shown: (shown, text), edited=edited)
    return texts | {shown: text}


def further_files(settings: Settings) -> list[tuple[Path, str]]:
    """Return (path, what error messages call it) of the rule files besides those that [Rules] names.

    JSON files count only if they hold rules of the full form, vocabulary or exclusions: copies of custom_tags.json may
    lie about. Names that begin with a dot or underscore never count.
    """
    rules = settings.rules
    named = {settings.resolve(path) for path in
             (rules.custom_tag_rules, rules.categories, rules.priority_keywords, rules.questions)}  # fmt: skip
    folder = settings.resolve(rules.custom_tag_rules).parent
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        suffix = path.suffix.lower()
        if path in named or path.name.startswith((".", "_")) or not path.is_file():
            continue
        if suffix in _YAML or (suffix == ".json" and _holds_rules(path)):
            found.append((path, settings.relative(path)))
    return found


def files_of_rules(settings: Settings) -> Iterator[Path]:
    """Yield every file that [Rules] names, which may not exist, and the texts applied last."""
    rules = settings.rules
    named = (rules.custom_tag_rules, rules.priority_keywords, rules.categories, rules.questions, rules.tag_vocabulary)
    yield from (settings.resolve(path) for path in named if path)
    yield from sorted(settings.resolve(rules.prompts).glob("*"))
    yield from (path for path, _ in further_files(settings))
    yield settings.data_directory / APPLIED


def _holds_rules(path: Path) -> bool:
    try:
        return is_full(parse_json(read_regular_text(path), path.name))
    except (SettingsError, OSError, UnicodeDecodeError):
        return False


def is_full(document: Any) -> bool:
    """Return whether a JSON document in rules/ is a rule file beside that of CustomTagRules (see `further_files`)."""
    if not isinstance(document, dict) or document.keys().isdisjoint(KEYS):
        return False
    rules = document.get("rules")
    return not isinstance(rules, list) or any(isinstance(rule, dict) and "id" in rule for rule in rules)


class _Loader(Composer, CParser, SafeConstructor, Resolver):
    """YAML 1.2 without aliases, which could make a small text large, and without duplicate keys.

    Only true, false, null and plain numbers are no text: `no` is the code of a language, 2024-01-01 a word.
    """

    levels = 0

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        for base in (Composer, SafeConstructor, Resolver):
            base.__init__(self)

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


def is_yaml(shown: str) -> bool:
    """Return whether a file of this name is YAML; others are JSON."""
    return shown.lower().endswith(_YAML)


def parse_document(text: str, shown: str) -> Any:
    """Return what is in a JSON or YAML file. Raises SettingsError."""
    return _parse_yaml(text, shown) if is_yaml(shown) else parse_json(text, shown)


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
