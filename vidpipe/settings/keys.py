"""Every key of config.ini: its names, what it means, what it allows, and how its text becomes a value."""

from __future__ import annotations

import difflib
import functools
import os
import re
import types
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from vidpipe.redaction import redact, redact_by_form
from vidpipe.settings.schema import SECTION_NAMES, Settings, key_name
from vidpipe.settings.section import Section

#: Spelled-out truth values, as configparser knows them.
TRUE_WORDS = ("yes", "true", "on", "1")
FALSE_WORDS = ("no", "false", "off", "0")

_SECRET_IN_ADDRESS = re.compile(r"(?:password|AWS_SESSION_TOKEN)[=:][^&]", re.IGNORECASE)


@dataclass(frozen=True)
class Key:
    """One key.

    section, name: as written in config.ini ("SceneDetection", "MinSceneLength")
    section_field, field: the same in Python ("scene_detection", "min_scene_length")
    """

    section: str
    name: str
    section_field: str
    field: str
    info: FieldInfo

    @property
    def label(self) -> str:
        return f"[{self.section}] {self.name}"

    @property
    def dotted(self) -> str:
        """The name that stages and command-line overrides use: scene_detection.min_scene_length."""
        return f"{self.section_field}.{self.field}"

    @property
    def environment_name(self) -> str:
        return f"VIDPIPE_{self.section.upper()}_{self.name.upper()}"

    @property
    def description(self) -> str:
        return self.info.description or ""

    @property
    def type(self) -> Any:
        """The annotation without None."""
        if get_origin(self.info.annotation) in (Union, types.UnionType):
            return next(part for part in get_args(self.info.annotation) if part is not types.NoneType)
        return self.info.annotation

    @property
    def secret(self) -> bool:
        """The whole value is a secret, and the tracked config.ini has no place for it."""
        return self.type is SecretStr and self.field != "uri"

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(get_args(self.type)) if get_origin(self.type) is Literal else ()

    @property
    def default_text(self) -> str:
        """The default as config.ini writes it; empty where there is none."""
        return as_text(self.info.default)

    @property
    def limits(self) -> dict[str, float]:
        """ge, gt, le, lt where the key has them."""
        return {
            bound: getattr(rule, bound)
            for rule in self.info.metadata
            for bound in ("ge", "gt", "le", "lt")
            if getattr(rule, bound, None) is not None
        }

    @property
    def allowed(self) -> str:
        """What may be written, as a phrase: "a whole number from 1 to 64"."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.type is bool:
            return "yes or no"
        if self.type in (int, float):
            noun = "a whole number" if self.type is int else "a number"
            return f"{noun}{self._range()}"
        if self.type is Path:
            return "a path"
        if get_origin(self.type) is tuple:
            return "a comma-separated list"
        return "text"

    def _range(self) -> str:
        limits = self.limits
        if "ge" in limits and "le" in limits:
            return f" from {limits['ge']:g} to {limits['le']:.8g}"
        low = (
            f" above {limits['gt']:g}" if "gt" in limits else f" of {limits['ge']:g} or more" if "ge" in limits else ""
        )
        return low + (f", at most {limits['le']:.8g}" if "le" in limits else "")

    def parse(self, text: str) -> Any:
        """The value that `text` stands for, not yet checked against the limits. Raises ValueError with a phrase."""
        if "\n" in text and self.field != "default_instruction":
            raise ValueError("it goes on over several lines: an indented line continues the one above it.")
        if self.choices:
            known = {choice.lower(): choice for choice in self.choices}
            if text.lower() not in known:
                raise ValueError(f"allowed is {self.allowed}.{suggestion(text, self.choices)}")
            return known[text.lower()]
        if self.type is bool:
            if text.lower() not in TRUE_WORDS + FALSE_WORDS:
                raise ValueError(f"allowed is {self.allowed}.")
            return text.lower() in TRUE_WORDS
        if self.type in (int, float):
            try:
                return self.type(text)
            except ValueError:
                raise ValueError(f"allowed is {self.allowed}{_number_advice(text)}.") from None
        if self.type is Path:
            return Path(os.path.expanduser(text))
        return text


def _number_advice(text: str) -> str:
    if re.fullmatch(r"-?\d+,\d+", text):
        return f", written with a point ({text.replace(',', '.')})"
    if re.fullmatch(r"-?[\d.]+\s*[A-Za-z%]+", text):
        return ", without its unit"
    return ""


def as_text(value: Any) -> str:
    """A value of Settings as config.ini writes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value.as_posix() if isinstance(value, Path) else str(value)


@functools.cache
def all_keys() -> tuple[Key, ...]:
    """Every key, in the order of config.ini."""
    return tuple(
        Key(section, key_name(field), section_field, field, info)
        for section_field, section in SECTION_NAMES.items()
        for field, info in section_model(section_field).model_fields.items()
    )


def section_model(section_field: str) -> type[Section]:
    model: type[Section] = Settings.model_fields[section_field].annotation  # type: ignore[assignment]
    return model


def suggestion(word: str, known: Iterable[str]) -> str:
    """' Did you mean X?' for the known word nearest to `word`, or ''."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[near[0]]}?" if near else ""


def holds_secret(key: Key, text: str) -> bool:
    """True if `text` must not stand in the tracked config.ini: a secret key, or an address with a password in it."""
    if not text:
        return False
    return key.secret or redact_by_form(text) != text or bool(key.field == "uri" and _SECRET_IN_ADDRESS.search(text))


def masked(key: Key, text: str) -> str:
    """`text` with what is secret in it replaced by ***."""
    if key.secret or (key.field == "uri" and "@" in text and "://" not in text):
        return "***" if text else ""
    if key.field == "uri" and _SECRET_IN_ADDRESS.search(text):
        text = re.sub(r"(?i)((?:password|AWS_SESSION_TOKEN)[=:])[^&]+", r"\1***", text)
    return redact(text)
