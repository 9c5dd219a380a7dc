"""The keys of config.ini: their names, descriptions and allowed values, how they are parsed and masked."""

import ast
import difflib
import functools
import inspect
import os
import re
import textwrap
import types
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from vidpipe.redaction import MASK, redact, redact_by_form
from vidpipe.settings.operation import Section
from vidpipe.settings.schema import SECTION_NAMES, Settings, key_name, section_models

# Shorter parts of a webhook's path are words such as "api" and "hooks".
_MIN_WEBHOOK_SECRET = 12
_SECRET_OPTION = re.compile(r"((?:password|AWS_SESSION_TOKEN)[=:])[^&]+", re.IGNORECASE)


@dataclass(frozen=True)
class Key:
    """One key of config.ini.

    Attributes:
        model: Class of its section.
        name: Key as written in config.ini: "MinSceneLength".
        section_field: Section in Python: "scene_detection".
        field: Key in Python: "min_scene_length".
        info: The field's type, default and limits.
    """

    model: type[Section]
    name: str
    section_field: str
    field: str
    info: FieldInfo

    @property
    def section(self) -> str:
        """The section as written in config.ini: "SceneDetection"."""
        return self.model.__name__

    @property
    def label(self) -> str:
        """[SceneDetection] MinSceneLength."""
        return f"[{self.section}] {self.name}"

    @property
    def dotted(self) -> str:
        """The name that stages and command-line overrides use: scene_detection.min_scene_length."""
        return f"{self.section_field}.{self.field}"

    @property
    def environment_name(self) -> str:
        """VIDPIPE_SCENEDETECTION_MINSCENELENGTH."""
        return f"VIDPIPE_{self.section.upper()}_{self.name.upper()}"

    @property
    def description(self) -> str:
        """What the key means, in one or more sentences."""
        return _descriptions(self.model).get(self.field, "")

    @property
    def type(self) -> Any:
        """The annotation without None."""
        if get_origin(self.info.annotation) in (Union, types.UnionType):
            return next(part for part in get_args(self.info.annotation) if part is not types.NoneType)
        return self.info.annotation

    @property
    def address(self) -> bool:
        """Whether the value is the address of a server, which may contain a password."""
        return self.type is SecretStr and self.field in ("uri", "url", "postgres", "broker")

    @property
    def secret(self) -> bool:
        """Whether the whole value is a secret, which config.ini must not contain."""
        return self.type is SecretStr and not self.address

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed words, if the key has a fixed set of them."""
        return tuple(get_args(self.type)) if get_origin(self.type) is Literal else ()

    @property
    def default_text(self) -> str:
        """The default as config.ini writes it; empty if there is none."""
        return as_text(self.info.default)

    @property
    def allowed(self) -> str:
        """The allowed values as a phrase: "a whole number from 1 to 64"."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.type in (int, float):
            return f"{'a whole number' if self.type is int else 'a number'}{self._range()}"
        if get_origin(self.type) is tuple:
            return "a comma-separated list"
        return {bool: "yes or no", Path: "a path"}.get(self.type, "text")

    def _range(self) -> str:
        bounds = ("ge", "gt", "le")
        limits = {
            bound: limit
            for rule in self.info.metadata
            for bound in bounds
            if (limit := getattr(rule, bound, None)) is not None
        }
        high = f"{limits['le']:.8g}" if "le" in limits else ""
        if "ge" in limits:
            return f" from {limits['ge']:g} to {high}" if high else f" of {limits['ge']:g} or more"
        return (f" above {limits['gt']:g}" if "gt" in limits else "") + (f", at most {high}" if high else "")

    def value_in(self, settings: Settings) -> Any:
        """Return the value of the key in `settings`."""
        return getattr(getattr(settings, self.section_field), self.field)

    def normalize(self, text: str) -> str:
        """Return `text` in the form that the schema parses: choices in their own case, ~ expanded."""
        if self.type is Path:
            return os.path.expanduser(text)
        return next((choice for choice in self.choices if choice.lower() == text.lower()), text)

    def advice(self, text: str) -> str:
        """Return what to write instead of `text`, which the schema refused: " Did you mean adaptive?"."""
        if self.choices:
            return f".{suggestion(text, self.choices)}"
        if self.type in (int, float) and re.fullmatch(r"-?\d+,\d+", text):
            return f", with a decimal point ({text.replace(',', '.')})."
        if self.type in (int, float) and re.fullmatch(r"-?[\d.]+\s*[A-Za-z%]+", text):
            return ", without its unit."
        return "."


@functools.cache
def all_keys(settings: type[Settings] = Settings) -> tuple[Key, ...]:
    """Return every key, in the order of config.ini."""
    return tuple(
        Key(section, key_name(field), section_field, field, info)
        for section_field, section in section_models(settings).items()
        for field, info in section.model_fields.items()
    )


@functools.cache
def _descriptions(model: type[Section]) -> dict[str, str]:
    # As pydantic's use_attribute_docstrings, which would read the sources at every start of a command.
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    except (OSError, SyntaxError):  # a plugin's class whose source is not there
        return {}
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 - the source of a class
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


def as_text(value: Any) -> str:
    """Return a value of `Settings` as config.ini writes it."""
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


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ' Did you mean X?' for the known word closest to `word`, or ''."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[near[0]]}?" if near else ""


def holds_secret(key: Key, text: str) -> bool:
    """Return whether `text` must not be in config.ini: a secret, or an address with a password."""
    secret_address = key.address and _SECRET_OPTION.search(text)
    return bool(text and (key.secret or redact_by_form(text) != text or secret_address))


def masked(key: Key, text: str) -> str:
    """Return `text` with its secrets replaced by ***."""
    if key.secret or (key.address and "@" in text and "://" not in text):
        return MASK if text else ""
    return redact(_SECRET_OPTION.sub(rf"\1{MASK}", text) if key.address else text)


def secret_values(settings: Settings) -> frozenset[str]:
    """Return every secret of `settings`, and parts of them that a server may echo alone."""
    secrets = _webhook_parts(settings.alerts.webhook_url.get_secret_value())
    for key in all_keys(type(settings)):
        text = as_text(key.value_in(settings)) if key.type is SecretStr else ""
        if key.address:
            rest = text.partition("://")[2]
            for part in (rest, rest.partition("/")[0]):  # not urlsplit, which refuses a malformed address
                password = part.rpartition("@")[0].partition(":")[2]
                secrets |= {password, urllib.parse.unquote(password), urllib.parse.unquote_plus(password)}
        if not key.address or key.section_field not in SECTION_NAMES:  # of a plugin's address, nothing is known
            secrets.add(text)
    return frozenset(secret for secret in secrets if secret)


def _webhook_parts(url: str) -> set[str]:
    path = re.sub("^[^/?#]*//[^/?#]*", "", url)
    return {part for part in (path, *re.split("[/?&=]", path)) if len(part) >= _MIN_WEBHOOK_SECRET}
