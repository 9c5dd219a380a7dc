"""The files in rules/: where they are, which of them are in force, and what is in each.

A file of rules is JSON or YAML: an object with any of the keys `rules`, `categories`, `vocabulary` and `exclusions`, or
a list of rules.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from vidpipe.errors import SettingsError
from vidpipe.safe_files import read_regular_text
from vidpipe.settings import Settings, default_file
from vidpipe.tagging.parsing import is_yaml, parse_document, parse_json
from vidpipe.tagging.validation import entry_place
from vidpipe.text.messages import did_you_mean

#: The texts of the rules that were applied last, below the data directory.
APPLIED = Path("rules/applied.json")
KEYS = ("rules", "categories", "vocabulary", "exclusions")
_LONGEST_FILE = 4_000_000

ResultT = TypeVar("ResultT")


class Versioned(ABC):
    """The contents of a rules file, with a version that changes only with their meaning."""

    @abstractmethod
    def normal(self) -> dict[str, Any]:
        """Return it as in a rules file, with one spelling for everything that means the same."""

    @cached_property
    def text(self) -> str:
        """The normal form as JSON: a valid rules file with the same meaning."""
        return json.dumps(self.normal(), sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)

    @cached_property
    def version(self) -> str:
        """16 hex digits of the sha256 of `text`; layout, notes, key order and aliases do not change it."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def texts(self) -> Mapping[str, str]:
        """Return the text by its version, for the lineage."""
        return {self.version: self.text}


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
    def parse(cls, text: str, shown: str) -> "RuleFile":
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


def entry_key(entry: Any) -> str:
    """Return the key by which entries of rule files are compared, made of their id or name; "" without one."""
    name = entry.get("id") or entry.get("name") if isinstance(entry, dict) else None
    return name.strip().casefold() if isinstance(name, str) else ""


def read_text(path: Path, shown: str, setting: str) -> str:
    """Return the text of a rules file.

    Args:
        path: The file.
        shown: What error messages call it.
        setting: The key of config.ini that names it.

    Raises:
        SettingsError: It cannot be read.
    """
    try:
        return read_regular_text(path)
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{shown} is not UTF-8 text: invalid byte at position {error.start}.", "Save it as UTF-8."
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{shown} cannot be read: {error.strerror or error}.",
            f"`vidpipe init` writes the default rules; [Rules] {setting} in config.ini names the file.",
        ) from None


def approved_texts(settings: Settings) -> dict[str, str]:
    """Return the texts of rules that were applied last, by what error messages call their files.

    Empty if edited rules apply by themselves, or nothing was applied yet. Raises SettingsError.
    """
    path = settings.data_directory / APPLIED
    if settings.rules.apply == "automatic" or not path.exists():
        return {}
    shown, hint = settings.relative(path), "`vidpipe rules apply` writes it again."
    try:
        found = json.loads(read_regular_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{shown}, the rules applied last, cannot be read: {error}.", hint) from None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise SettingsError(f"{shown}, the rules applied last, is damaged.", hint)
    return found


def load_named(
    settings: Settings, field: str, parse: Callable[[str, str], ResultT], *, edited: bool = False
) -> ResultT:
    """Load the file that a field of [Rules] names. Only the default file may be missing: those of vidpipe replace it.

    Args:
        settings: The settings.
        field: Name of the field.
        parse: Parses the file's text; its second argument is what error messages call the file.
        edited: The file as it is, though edited rules may wait for approval.

    Raises:
        SettingsError: The file cannot be used.
    """
    named: Path = getattr(settings.rules, field)
    path, shown = settings.resolve(named), named.as_posix()
    approved = {} if edited else approved_texts(settings)
    if shown in approved:
        return parse(approved[shown], shown)
    if not path.exists() and named == type(settings.rules).model_fields[field].default:
        path = default_file(f"rules/{named.name}")
    return parse(read_text(path, shown, field.title().replace("_", "")), shown)


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
        if path in named or path.name.startswith((".", "_")) or not path.is_file():
            continue
        if is_yaml(path.name) or (path.suffix.lower() == ".json" and _holds_rules(path)):
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
