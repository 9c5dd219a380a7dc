"""Checks what is in rules files against their models, and says what is wrong in the words of the files."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from vidpipe.errors import SettingsError
from vidpipe.tagging.conditions import as_found, is_container
from vidpipe.text.messages import did_you_mean

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


def value_under(document: dict[str, Any], key: str, shown: str) -> Any:
    """Return the value of `key`. Raises SettingsError if it is missing, or beside other keys than "note"."""
    unknown = sorted(set(document) - {key, "note"})
    if key not in document:
        found = f'found "{unknown[0]}"' if unknown else "found no such key"
        raise SettingsError(f'{shown}: expected the key "{key}"; {found}.')
    if unknown:
        raise SettingsError(f'{shown}: "{unknown[0]}" is not allowed beside "{key}"; only "note" is.')
    return document[key]


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
