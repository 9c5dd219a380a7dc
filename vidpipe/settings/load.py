"""config.ini, config.local.ini, the environment and options of a command become one `Settings`."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vidpipe.errors import SettingsError
from vidpipe.settings.files import Layer, environment_layer, file_layer, override_layer
from vidpipe.settings.home import CONFIG_NAME, LOCAL_CONFIG_NAME, find_home
from vidpipe.settings.keys import Key, all_keys, as_text, holds_secret, masked, section_model
from vidpipe.settings.schema import SECTION_NAMES, Settings
from vidpipe.settings.section import Section

#: Shorter parts of a webhook's path are words like "api" and "hooks".
_SHORTEST_OF_WEBHOOK = 12


@dataclass(frozen=True)
class Entry:
    """One effective setting, as `vidpipe config` shows it. value: as config.ini would write it, secrets masked.

    source: default, config.ini, config.local.ini, environment VIDPIPE_..., or command line
    differs: whether the value is not the default
    """

    section: str
    key: str
    value: str
    source: str
    differs: bool
    description: str
    allowed: str
    default: str
    environment: str


@dataclass(frozen=True)
class LoadedSettings:
    """The effective settings and where each came from. sources: "scene_detection.detector" -> source."""

    settings: Settings
    config: Path
    sources: Mapping[str, str]

    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entry(key) for key in all_keys())

    def _entry(self, key: Key) -> Entry:
        text = as_text(getattr(getattr(self.settings, key.section_field), key.field))
        return Entry(
            section=key.section, key=key.name, value=masked(key, text), source=self.sources[key.dotted],
            differs=text != key.default_text, description=key.description, allowed=key.allowed,
            default=key.default_text, environment=key.environment_name,
        )  # fmt: skip


def load(
    home: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    secrets: bool = True,
) -> LoadedSettings:
    """The settings of a home. Strongest last: config.ini, config.local.ini, VIDPIPE_<SECTION>_<KEY>, `overrides`.

    home:      else VIDPIPE_HOME, else the nearest folder at or above the working directory that is a home
    config:    read instead of the home's config.ini; its folder is the home where there is no other
    overrides: "scene_detection.detector" (or "SceneDetection.Detector") -> text or value; None is skipped
    secrets:   False leaves every secret out and does without a config.local.ini that cannot be read
    An empty text means the default. Raises SettingsError that names every wrong section, key and value, where it
    stands, what was found and what is allowed.
    """
    home = _home(home, environ, config)
    # Not resolved: a config.ini that is a link to elsewhere is still this home's config.ini.
    config = (config or home / CONFIG_NAME).expanduser().absolute()
    layers = [file_layer(config, _source(config, home), secrets_allowed=config.name == LOCAL_CONFIG_NAME)]
    local = home / LOCAL_CONFIG_NAME
    if local.exists() and local != config:
        try:
            layers.append(file_layer(local, LOCAL_CONFIG_NAME, secrets_allowed=True))
        except SettingsError as error:
            if secrets or not isinstance(error.__cause__, OSError):
                raise
    layers += [environment_layer(environ), override_layer(overrides or {})]
    if not secrets:
        for layer in layers:
            layer.values = {key: text for key, text in layer.values.items() if not holds_secret(key, str(text))}
    _imply_detector(layers)

    problems = [problem for layer in layers for problem in layer.problems]
    origin = {key: layer for layer in layers for key in layer.values}
    sections: dict[str, Section] = {}
    for section_field in SECTION_NAMES:
        keys = [key for key in origin if key.section_field == section_field]
        section, wrong = _section(section_field, keys, origin)
        problems += wrong
        if section is not None:
            sections[section_field] = section
    if problems:
        raise SettingsError("\n".join(problems))
    sources = {
        key.dotted: origin[key].source_of(key) if key in origin and str(origin[key].values[key]).strip() else "default"
        for key in all_keys()
    }
    return LoadedSettings(Settings.model_validate({"home": home, **sections}), config, sources)


def _imply_detector(layers: Sequence[Layer]) -> None:
    """A threshold that a command is given alone is on PySceneDetect's content scale, as in the older script. It is on
    that of Detector where somebody chose one: by the environment, or another than the default in a file."""
    command = layers[-1]
    keys = {key.dotted: key for key in all_keys()}
    threshold, detector = keys["scene_detection.default_threshold"], keys["scene_detection.detector"]
    if threshold not in command.values:
        return
    in_force = next((layer for layer in reversed(layers) if detector in layer.values), command)
    name = str(in_force.values.get(detector, "")).strip().lower()
    if not name or (name == detector.default_text and in_force is not command and detector not in in_force.variables):
        command.values[detector] = "content"


def _home(home: Path | None, environ: Mapping[str, str], config: Path | None) -> Path:
    """`find_home`, but a config file that was named makes the home's own config.ini unnecessary."""
    if config is None:
        return find_home(home, environ)
    named = home or (Path(environ["VIDPIPE_HOME"]) if environ.get("VIDPIPE_HOME") else None)
    if named is not None:
        if not named.expanduser().is_dir():
            raise SettingsError(f"The home {named} is not a folder.", f"Make one with `vidpipe init {named}`.")
        return named.expanduser().resolve()
    try:
        return find_home(environ=environ)
    except SettingsError:
        return config.expanduser().absolute().parent.resolve()


def _source(config: Path, home: Path) -> str:
    return config.relative_to(home).as_posix() if config.is_relative_to(home) else str(config)


def _section(section_field: str, keys: list[Key], origin: Mapping[Key, Layer]) -> tuple[Section | None, list[str]]:
    """The section's model, or None and what is wrong."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for key in keys:
        value = origin[key].values[key]
        if isinstance(value, str):
            value = value.strip()
            if not value:
                continue
            try:
                value = key.parse(value)
            except ValueError as error:
                problems.append(_wrong_value(key, origin[key], str(error)))
                continue
        values[key.field] = value
    try:
        return section_model(section_field)(**values), problems
    except ValidationError as failed:
        by_field = {key.field: key for key in keys}
        # A rule that spans several keys says nothing as long as one of them could not be read.
        return None, problems + [
            _checked_value(section_field, error, by_field, origin)
            for error in failed.errors(include_url=False, include_input=False)
            if error["loc"] or not problems
        ]


def _wrong_value(key: Key, layer: Layer, allowed: str) -> str:
    text = str(layer.values[key]).strip()
    shown = masked(key, text)
    advice = ""
    if any(mark in text for mark in (" #", " ;")) and key.type is not str:
        advice = " A comment goes on a line of its own."
    return f"{layer.place(key)} = {shown}: {allowed}{advice}"


def _checked_value(
    section_field: str, error: ErrorDetails, by_field: Mapping[str, Key], origin: Mapping[Key, Layer]
) -> str:
    """The sentence for a value that the schema refuses."""
    cause = str(error.get("ctx", {}).get("error", "")) or error["msg"]
    key = by_field.get(str(error["loc"][0])) if error["loc"] else None
    if key is not None:
        return _wrong_value(key, origin[key], _phrase(key, error, cause))
    mentioned = sorted((key for key in by_field.values() if key.name in cause), key=lambda key: cause.index(key.name))
    places = _places(mentioned, origin)
    return f"{places or f'[{SECTION_NAMES[section_field]}]'}: {cause}."


def _places(keys: Sequence[Key], origin: Mapping[Key, Layer]) -> str:
    """Where `keys` were found; a file that two in a row stand in is named once."""
    named: list[str] = []
    before: Layer | None = None
    for key in keys:
        layer = origin[key]
        in_file = key not in layer.variables
        named.append(key.label if in_file and layer is before else layer.place(key))
        before = layer if in_file else None
    return " and ".join(named)


def _phrase(key: Key, error: ErrorDetails, cause: str) -> str:
    if error["type"] == "value_error":
        return f"{cause}."
    if error["type"] == "string_pattern_mismatch":
        return f"allowed is: {key.description}."
    if error["type"] == "string_too_long":
        return f"{key.name} has at most {error['ctx']['max_length']} characters."
    return f"allowed is {key.allowed}."


def secret_values(settings: Settings) -> frozenset[str]:
    """Every secret of `settings`, and parts of them that a server may echo alone."""
    alerts = settings.alerts
    webhook = alerts.webhook_url.get_secret_value()
    secrets = {settings.qwen_vl.access_key.get_secret_value(), alerts.smtp_password.get_secret_value(), webhook}
    path = re.sub("^[^/?#]*//[^/?#]*", "", webhook)
    secrets |= {part for part in (path, *re.split("[/?&=]", path)) if len(part) >= _SHORTEST_OF_WEBHOOK}
    uri = settings.mongodb.uri.get_secret_value()
    # not urlsplit: an address that is wrong is no reason to stop here
    password = uri.partition("://")[2].partition("/")[0].rpartition("@")[0].partition(":")[2]
    secrets |= {password, urllib.parse.unquote(password), urllib.parse.unquote_plus(password)}
    return frozenset(secret for secret in secrets if secret)
