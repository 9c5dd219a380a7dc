"""Loads settings from config.ini, config.local.ini, environment variables and command-line options.

Each source gives texts by key; the later source wins, and pydantic checks the result. Every problem is reported with
the place of the value: file, section and key, or environment variable.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vidpipe.errors import SettingsError
from vidpipe.settings.analyses import ANALYSES
from vidpipe.settings.home import CONFIG_NAME, LOCAL_CONFIG_NAME, find_home
from vidpipe.settings.keys import Key, all_keys, as_text, holds_secret, masked
from vidpipe.settings.operation import split_list
from vidpipe.settings.plugins import with_plugin_sections
from vidpipe.settings.schema import SECTION_NAMES, Settings, section_models
from vidpipe.settings.sources import Source, read_environment, read_ini, read_overrides


@dataclass(frozen=True)
class Entry:
    """One effective setting, as `vidpipe config` shows it.

    Attributes:
        key: Its key.
        value: As config.ini would write it, secrets masked.
        source: default, config.ini, config.local.ini, environment VIDPIPE_..., or command line.
        differs: Whether the value is not the default.
    """

    key: Key
    value: str
    source: str
    differs: bool


@dataclass(frozen=True)
class LoadedSettings:
    """The effective settings and their sources.

    Attributes:
        config: The config.ini that was read.
        sources: "scene_detection.detector" -> source, as in `Entry`.
        notices: What the user should know: settings of plugins that are not in use.
    """

    settings: Settings
    config: Path
    sources: Mapping[str, str]
    notices: tuple[str, ...] = ()

    def entries(self) -> tuple[Entry, ...]:
        """Return every setting, in the order of config.ini."""
        return tuple(map(self._entry, all_keys(type(self.settings))))

    def as_json(self, *, changed: bool = False) -> dict[str, Any]:
        """Return every setting, or those that differ from their defaults, as JSON values."""
        settings: dict[str, dict[str, dict[str, object]]] = {}
        for entry in self.entries():
            key = entry.key
            if entry.differs or not changed:
                settings.setdefault(key.section, {})[key.name] = {
                    "value": entry.value, "source": entry.source, "default": key.default_text,
                    "differs": entry.differs, "allowed": key.allowed, "description": key.description,
                    "environment": key.environment_name,
                }  # fmt: skip
        return {"home": str(self.settings.home), "config": str(self.config), "settings": settings}

    def _entry(self, key: Key) -> Entry:
        text = as_text(key.value_in(self.settings))
        return Entry(key, masked(key, text), self.sources[key.dotted], text != key.default_text)


def load(
    home: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    secrets: bool = True,
    standalone: Path | None = None,
) -> LoadedSettings:
    """Load the settings of a home.

    From weakest to strongest: config.ini, config.local.ini, VIDPIPE_<SECTION>_<KEY>, `overrides`. An empty text means
    the default.

    Args:
        home: Else VIDPIPE_HOME, else the nearest home at or above the working directory.
        environ: The environment variables.
        config: Read instead of the home's config.ini; its folder is the home if there is no other.
        overrides: "scene_detection.detector" (or "SceneDetection.Detector") -> text or value; None is skipped.
        secrets: False leaves every secret out and does without a config.local.ini that cannot be read.
        standalone: For work without a library: what is written goes to this folder, which the caller deletes. Where
            there is no home, the defaults and the shipped rules are used.

    Raises:
        SettingsError: Names every wrong section, key and value, where it was found, and what is allowed.
    """
    home = _home(home, environ, config, standalone)
    if standalone:
        overrides = {
            "paths.download_directory": standalone / "media", "paths.processed_directory": standalone / "derived",
            "logging.log_file": standalone / "vidpipe.log", "storage.media": "local", "storage.cold_media": "",
            **(overrides or {}),
        }  # fmt: skip
    # Not resolved: a config.ini that is a symlink is still this home's config.ini.
    config = (config or home / CONFIG_NAME).expanduser().absolute()
    config_name = config.relative_to(home).as_posix() if config.is_relative_to(home) else str(config)
    local = home / LOCAL_CONFIG_NAME

    def read(plugins: Sequence[str]) -> list[Source]:
        options: dict[str, Any] = {"model": with_plugin_sections(plugins), "plugins": plugins}
        found = [read_ini(config, config_name, secrets_allowed=config.name == LOCAL_CONFIG_NAME, **options)]
        if local.exists() and local != config:
            try:
                found.append(read_ini(local, LOCAL_CONFIG_NAME, secrets_allowed=True, **options))
            except SettingsError as error:
                if secrets or not isinstance(error.__cause__, OSError):
                    raise
        return [*found, read_environment(environ, **options), read_overrides(overrides or {}, options["model"])]

    sources = read(())
    if plugins := [name for name in _enabled(sources) if name not in ANALYSES]:
        sources = read(plugins)
    model = with_plugin_sections(plugins)
    if not secrets:
        for source in sources:
            source.values = {key: value for key, value in source.values.items() if not holds_secret(key, str(value))}
    _imply_detector(sources)

    problems = [problem for source in sources for problem in source.problems]
    origin = {key: source for source in sources for key in source.values}
    values: dict[str, Any] = {section: {} for section in section_models(model)}
    names = dict.fromkeys((key.dotted for key in all_keys(model)), "default")
    for key, source in origin.items():
        value = source.values[key]
        if isinstance(value, str):
            value = key.normalize(value.strip())
            if not value:
                continue
            if "\n" in value and key.field != "default_instruction":
                problems.append(_wrong(key, source, "it continues on an indented line; write it on one line."))
                continue
        values[key.section_field][key.field] = value
        names[key.dotted] = source.name_of(key)
    try:
        settings = model.model_validate({"home": home, **values})
    except ValidationError as failed:
        problems += [_problem(error, origin) for error in failed.errors(include_url=False, include_input=False)]
    if problems:
        raise SettingsError("\n".join(problems))
    return LoadedSettings(settings, config, names, tuple(notice for source in sources for notice in source.notices))


def _enabled(sources: Iterable[Source]) -> Sequence[str]:
    """Return [Analyses] Enabled as the strongest source has it."""
    (key,) = (key for key in all_keys() if key.dotted == "analyses.enabled")
    found: Any = next((source.values[key] for source in reversed(list(sources)) if key in source.values), ())
    return split_list(found) if isinstance(found, str) else tuple(found)


def _home(home: Path | None, environ: Mapping[str, str], config: Path | None, standalone: Path | None) -> Path:
    """`find_home`, but a config file that was named makes the home's own config.ini unnecessary."""
    if config is None:
        return find_home(home, environ, otherwise=standalone and standalone / "home")
    named = home or (Path(environ["VIDPIPE_HOME"]) if environ.get("VIDPIPE_HOME") else None)
    if named is not None:
        if not named.expanduser().is_dir():
            raise SettingsError(f"The home {named} is not a folder.", f"Create it with `vidpipe init {named}`.")
        return named.expanduser().resolve()
    try:
        return find_home(environ=environ)
    except SettingsError:
        return config.expanduser().absolute().parent.resolve()


def _imply_detector(sources: Sequence[Source]) -> None:
    """Select the content detector for a threshold that a command gives alone, as legacy scripts expect.

    A detector chosen by the environment, or one other than the default in a file, stays.
    """
    command = sources[-1]
    keys = {key.dotted: key for key in all_keys()}
    threshold, detector = keys["scene_detection.default_threshold"], keys["scene_detection.detector"]
    if threshold not in command.values:
        return
    chosen_in = next((source for source in reversed(sources) if detector in source.values), command)
    name = str(chosen_in.values.get(detector, "")).strip().lower()
    is_default = name == detector.default_text and chosen_in is not command and detector not in chosen_in.variables
    if not name or is_default:
        command.values[detector] = "content"


def _problem(error: ErrorDetails, origin: Mapping[Key, Source]) -> str:
    """The sentence for a value that the schema refuses."""
    section_field, *rest = error["loc"]
    by_field = {key.field: key for key in origin if key.section_field == section_field}
    cause = str(error.get("ctx", {}).get("error", "")) or error["msg"]
    key = by_field.get(str(rest[0])) if rest else None
    if key is None:  # a rule that spans several keys
        mentioned = sorted(
            (key for key in by_field.values() if key.name in cause), key=lambda key: cause.index(key.name)
        )
        return f"{_places(mentioned, origin) or f'[{SECTION_NAMES.get(str(section_field), section_field)}]'}: {cause}."
    if error["type"] == "value_error":
        return _wrong(key, origin[key], f"{cause}.")
    if error["type"] == "string_pattern_mismatch":
        return _wrong(key, origin[key], f"not allowed. {key.description}")
    if error["type"] == "string_too_long":
        return _wrong(key, origin[key], f"longer than {error['ctx']['max_length']} characters.")
    text = str(origin[key].values[key]).strip()
    return _wrong(key, origin[key], f"must be {key.allowed}{key.advice(text)}")


def _wrong(key: Key, source: Source, reason: str) -> str:
    text = str(source.values[key]).strip()
    comment = key.type is not str and any(mark in text for mark in (" #", " ;"))
    advice = " Comments must be on lines of their own." if comment else ""
    return f"{source.place_of(key)} = {masked(key, text)}: {reason}{advice}"


def _places(keys: Sequence[Key], origin: Mapping[Key, Source]) -> str:
    """Where `keys` were found; a file that holds two in a row is named once."""
    named: list[str] = []
    before: Source | None = None
    for key in keys:
        source = origin[key]
        in_file = key not in source.variables
        named.append(key.label if in_file and source is before else source.place_of(key))
        before = source if in_file else None
    return " and ".join(named)
