"""Reading the JSON files in rules/, and sentences for what is wrong in them."""

from __future__ import annotations

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
from vidpipe.tagging.conditions import as_found, did_you_mean

#: The rule files that come with vidpipe; a home without rules of its own uses them.

_MOST_ERRORS = 5

#: pydantic's kind of error -> what follows the key's name
_MESSAGES = {
    "string_type": "should be text",
    "bool_type": "should be true or false",
    "float_type": "should be a number",
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


def _as_list(value: Any) -> Any:
    """One value where a list is asked for is a list of one."""
    return [value] if isinstance(value, str | dict) else value


#: 1 to 200 printable characters.
Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")
]
Texts = Annotated[list[Text], BeforeValidator(_as_list)]
Patterns = Annotated[list[str], BeforeValidator(_as_list)]
ConditionGroups = Annotated[list[dict[str, Any]], BeforeValidator(_as_list)]


class Source(BaseModel):
    """Base of what rules files hold: every key is known, and no value is turned into another type.

    note: for the reader of the file; has no effect
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    note: str | list[str] = ""


def read_text(path: Path, shown: str, setting: str) -> str:
    """The text of a rules file; `shown` names it in errors, `setting` is the key of config.ini that points to it."""
    try:
        return read_regular_text(path)
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{shown} is not UTF-8 text: byte {error.start} does not fit.", "Save it as UTF-8."
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{shown} cannot be read: {error.strerror or error}.",
            f"`vidpipe init` writes the default rules; [Rules] {setting} in config.ini names the file.",
        ) from None


def parse_json(text: str, shown: str) -> Any:
    """The JSON in `text`. A key that is there twice, NaN and Infinity are errors.

    Raises SettingsError naming file, line and column.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise SettingsError(f'{shown}: the key "{key}" is there twice in one object.', "Keep one of them.")
            found[key] = value
        return found

    def no_constant(name: str) -> NoReturn:
        raise SettingsError(f"{shown}: {name} is not a number that can be compared with.", "Write a finite number.")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        raise SettingsError(
            f"{shown}, line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}.",
            'JSON takes no comments and no comma after the last entry; a "note" key may hold remarks.',
        ) from None
    except (RecursionError, ValueError) as error:
        raise SettingsError(f"{shown} cannot be read as JSON: {error}.") from None


def validated(model: type[ModelT], source: Any, where: str) -> ModelT:
    """`source` as a `model`. Raises SettingsError that tells each wrong key or value apart."""
    if not isinstance(source, dict):
        raise SettingsError(f"{where}: found {as_found(source)}, expected an object.")
    try:
        return model.model_validate(source)
    except ValidationError as error:
        sentences = [_sentence(model, entry) for entry in error.errors()[:_MOST_ERRORS]]
        raise SettingsError(f"{where}: {'; '.join(sentences)}.") from None


def _sentence(model: type[BaseModel], error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    key, found = location[0] if location else "", error["input"]
    if error["type"] == "extra_forbidden":
        known = sorted(model.model_fields)
        return f'"{key}" is not a known key{did_you_mean(key, known)} (known are {", ".join(known)})'
    if error["type"] == "missing":
        return f'"{key}" is missing'
    place = f'"{key}"' + (f", entry {int(location[1]) + 1}" if len(location) > 1 and location[1].isdigit() else "")
    plain = error["msg"].removeprefix("Value error, ").replace("Input should", "should")
    message = _MESSAGES.get(error["type"], plain)
    if error["type"] in ("string_too_long", "too_long"):
        message = message.format(**error["ctx"])
    return f"{place} {message}; found {as_found(found)}"


def compiled(build: Callable[[], ResultT], where: str, key: str) -> ResultT:
    """`build()`, with the sentence of its ValueError turned into a SettingsError that names the place."""
    try:
        return build()
    except ValueError as error:
        sentence = str(error)
        end = "" if sentence.endswith("?") else "."
        raise SettingsError(f"{where}, {key}: {sentence}{end}", "docs/rules.md lists what a rule can ask.") from None


def unique_names(names: Iterable[tuple[str, str]], shown: str) -> None:
    """Raises SettingsError where two of the (name, place) are called the same."""
    seen: dict[str, str] = {}
    for name, place in names:
        if (other := seen.setdefault(name.casefold(), place)) != place:
            raise SettingsError(f'{shown}: {other} and {place} are both called "{name}".', "Rename one of them.")


class Versioned(ABC):
    """What was read from a rules file, under a version that only a change of meaning changes."""

    @abstractmethod
    def normal(self) -> dict[str, Any]:
        """As a rules file would hold it, one way for all spellings that mean the same."""

    @cached_property
    def text(self) -> str:
        """The normal form as JSON; itself a valid rules file that means the same."""
        return json.dumps(self.normal(), sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)

    @cached_property
    def version(self) -> str:
        """16 hex digits of the sha256 of `text`: layout, notes, order of keys and aliases do not change it."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def texts(self) -> Mapping[str, str]:
        """version -> text, for the lineage."""
        return {self.version: self.text}
