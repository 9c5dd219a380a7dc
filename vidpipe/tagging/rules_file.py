"""Reads the JSON files in rules/ and reports what is wrong in them."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from vidpipe.errors import SettingsError
from vidpipe.safe_files import read_regular_text
from vidpipe.settings import Settings, default_file
from vidpipe.tagging.conditions import as_found, is_container
from vidpipe.text.messages import did_you_mean

#: The texts of the rules that were applied last, below the data directory.
APPLIED = Path("rules/applied.json")
_MAX_ERRORS = 5
_LONGEST_MESSAGE = 2000

#: pydantic error type -> what follows the key's name.
_MESSAGES = {
    "string_type": "should be text",
    "bool_type": "should be true or false",
    "float_type": "should be a number",
    "int_type": "should be a whole number",
    "list_type": "should be a list",
    "dict_type": "should be an object",
    "too_short": "should hold at least one entry",
    "string_too_short": "should not be empty",
    "string_too_long": "should have at most {max_length} characters",
    "too_long": "should hold at most {max_length} entries",
    "string_pattern_mismatch": "should have printable characters only",
}

ModelT = TypeVar("ModelT", bound=BaseModel)
ResultT = TypeVar("ResultT")


def as_list(value: Any) -> Any:
    """Accept a single value where a list is expected."""
    return [value] if isinstance(value, str | dict) else value


#: 1 to 200 printable characters.
Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")
]
Texts = Annotated[list[Text], BeforeValidator(as_list)]
Patterns = Annotated[list[str], BeforeValidator(as_list)]
ConditionGroups = Annotated[list[dict[str, Any]], BeforeValidator(as_list)]


class RulesFileModel(BaseModel):
    """Base of the models of rules files: unknown keys are errors, and values are not converted.

    Attributes:
        note: For the reader of the file; has no effect.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    note: str | list[str] = ""


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


def value_under(document: dict[str, Any], key: str, shown: str) -> Any:
    """Return the value of `key`. Raises SettingsError if it is missing, or beside other keys than "note"."""
    unknown = sorted(set(document) - {key, "note"})
    if key not in document:
        found = f'found "{unknown[0]}"' if unknown else "found no such key"
        raise SettingsError(f'{shown}: expected the key "{key}"; {found}.')
    if unknown:
        raise SettingsError(f'{shown}: "{unknown[0]}" is not allowed beside "{key}"; only "note" is.')
    return document[key]


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


def validated(model: type[ModelT], source: Any, where: str) -> ModelT:
    """Return `source` as a `model`. Raises SettingsError, which lists each wrong key and value."""
    try:
        return checked(model, source)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}.") from None


def checked(model: type[ModelT], source: Any) -> ModelT:
    """Return `source` as a `model`. Raises ValueError, which lists each wrong key and value."""
    if not isinstance(source, dict):
        raise ValueError(f"found {as_found(source)}, expected an object")
    try:
        return model.model_validate(source)
    except ValidationError as error:
        raise ValueError("; ".join(_sentence(model, entry) for entry in error.errors()[:_MAX_ERRORS])) from None


def _sentence(model: type[BaseModel], error: Any) -> str:
    location, found = [part for part in error["loc"] if part != "[key]"], error["input"]
    place = ", ".join(f"entry {part + 1}" if isinstance(part, int) else f'"{part[:80]}"' for part in location)
    if error["type"] == "extra_forbidden":
        parts = [model.model_json_schema()] if len(location) == 1 else model.model_json_schema()["$defs"].values()
        known = sorted({name for part in parts for name in part.get("properties", ())})
        return f"{place} is not a known key{did_you_mean(str(location[-1]), known)} (known are {', '.join(known)})"
    if error["type"] == "missing":
        return f"{place} is missing"
    plain = error["msg"].removeprefix("Value error, ").replace("Input should", "should")
    message = _MESSAGES.get(error["type"], plain)
    if error["type"] in ("string_too_long", "too_long"):
        message = message.format(**error["ctx"])
    quotes = ": put it between quotation marks" if message == "should be text" and not is_container(found) else ""
    return f"{place} {message}; found {as_found(found)}{quotes}"


def compiled(build: Callable[[], ResultT], where: str, key: str) -> ResultT:
    """Return `build()`; its ValueError becomes a SettingsError that names the place and the key."""
    try:
        return build()
    except ValueError as error:
        sentence = str(error)[:_LONGEST_MESSAGE]
        end = "" if sentence.endswith("?") else "."
        raise SettingsError(f"{where}, {key}: {sentence}{end}", "docs/rules.md lists all conditions.") from None


def entry_place(shown: str, kind: str, number: int, entry: Any, key: str = "name") -> str:
    """Return what error messages call an entry of a list: `rules.json, rule 3 ("night")`."""
    name = entry.get(key) if isinstance(entry, dict) else None
    return f"{shown}, {kind} {number}" + (f' ("{name[:80]}")' if isinstance(name, str) and name else "")


def unique_names(names: Iterable[tuple[str, str]]) -> None:
    """Raise SettingsError if two of the (name, place) pairs have the same name."""
    seen: dict[str, str] = {}
    for name, place in names:
        if (other := seen.setdefault(name.casefold(), place)) != place:
            raise SettingsError(f'{other} and {place} have the same name "{name}".', "Rename one of them.")


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
