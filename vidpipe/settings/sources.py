"""Where settings come from: INI files, environment variables and options of a command.

Each gives texts by key, which are not checked yet.
"""

import configparser
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidpipe.errors import SettingsError
from vidpipe.redaction import SOURCE_SECRETS
from vidpipe.safe_files import read_regular_text
from vidpipe.settings.keys import Key, all_keys, holds_secret, suggestion
from vidpipe.settings.plugins import is_of_plugin
from vidpipe.settings.schema import SECTION_NAMES, Settings, section_models

#: Variables with the prefix VIDPIPE_ that are no settings.
_OTHER_VARIABLES = ("VIDPIPE_HOME", SOURCE_SECRETS, "VIDPIPE_TEST_", "VIDPIPE_BENCH_")
# Kubernetes sets these in every pod if there is a service named vidpipe: VIDPIPE_SERVICE_HOST, VIDPIPE_PORT_80_TCP_ADDR
_KUBERNETES = re.compile(r"VIDPIPE_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
_UNUSED = "is not used: its plugin is not enabled in [Analyses], not installed, or fails (see `vidpipe doctor`)."


@dataclass
class Source:
    """Values from one place.

    Attributes:
        place: Where it is, in errors: the full path of a file.
        name: The same in `vidpipe config`.
        values: What was found, not yet checked.
        variables: The names of environment variables.
        problems: What is wrong, as sentences.
        notices: What is not in use, as sentences.
    """

    place: str
    name: str
    values: dict[Key, Any] = field(default_factory=dict)
    variables: dict[Key, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def place_of(self, key: Key) -> str:
        """Return where `key` was found, as the start of an error message."""
        return f"environment variable {self.variables[key]}" if key in self.variables else f"{self.place}: {key.label}"

    def name_of(self, key: Key) -> str:
        """Return the source of `key` for `vidpipe config`."""
        return f"environment {self.variables[key]}" if key in self.variables else self.name


def read_ini(path: Path, name: str, *, secrets_allowed: bool, model: type[Settings], plugins: Sequence[str]) -> Source:
    """Read the values of an INI file. Case of sections and keys is ignored.

    Args:
        path: The file.
        name: What `vidpipe config` calls it.
        secrets_allowed: Whether it may contain secrets.
        model: Its fields are the sections.
        plugins: Enabled plugins, installed or not.

    Raises:
        SettingsError: The file cannot be read or parsed. What is wrong in it otherwise is in `Source.problems`.
    """
    source = Source(str(path), name)
    names = [section.__name__ for section in section_models(model).values()]
    sections = {section.lower(): section for section in names}
    parser = parse_ini(path)
    seen: dict[str, str] = {}
    for written in parser.sections():
        section = sections.get(written.lower())
        if section is None and is_of_plugin(written, plugins):
            source.notices.append(f"{path}: [{written}] {_UNUSED}")
            continue
        if section is None:
            source.problems.append(
                f"{path}: unknown section [{written}]; valid sections are {_listed(names)}."
                + (suggestion(written, names) or " Remove it if its plugin is not installed any more.")
            )
            continue
        if section in seen:
            source.problems.append(f"{path}: [{written}] and [{seen[section]}] are the same section; merge them.")
        seen[section] = written
        for key_written, text in parser.items(written):
            _add(source, section, key_written, text, secrets_allowed, keys=all_keys(model))
    return source


def _add(source: Source, section: str, written: str, text: str, secrets_allowed: bool, *, keys: Sequence[Key]) -> None:
    same_name = {key.section: key for key in keys if key.name.lower() == written.lower()}
    key = same_name.get(section)
    if key is None and same_name:
        problem = f"[{section}] {written} is in the wrong section; it belongs in [{next(iter(same_name))}]."
    elif key is None:
        names = [known.name for known in keys if known.section == section]
        problem = f"unknown key [{section}] {written}; valid keys are {', '.join(names)}.{suggestion(written, names)}"
    elif key in source.values:
        problem = f"{key.label} is set twice; remove one."
    elif not secrets_allowed and holds_secret(key, text):
        problem = (
            f"{key.label} contains a secret, and this file may be shared or tracked by git. Move it to "
            f"config.local.ini next to config.ini, or to the environment variable {key.environment_name}."
        )
    else:
        source.values[key] = text
        return
    source.problems.append(f"{source.place}: {problem}")


def parse_ini(path: Path) -> configparser.ConfigParser:
    """Return the sections of an INI file, as written. Raises SettingsError if it cannot be read or parsed."""
    # configparser's section DEFAULT would apply to all others: it gets a name that no file contains.
    parser = configparser.ConfigParser(interpolation=None, default_section="\0")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(read_regular_text(path), source=str(path))
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror or error}.", "`vidpipe init` creates one."
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text (byte {error.start}).", "Save it as UTF-8.") from error
    except configparser.DuplicateSectionError as error:
        raise SettingsError(f"{path}, line {error.lineno}: duplicate section [{error.section}]; merge them.") from error
    except configparser.DuplicateOptionError as error:
        raise SettingsError(
            f"{path}, line {error.lineno}: [{error.section}] {error.option} is set twice; remove one."
        ) from error
    except configparser.MissingSectionHeaderError as error:
        raise SettingsError(
            f"{path}, line {error.lineno}: text before the first [Section].",
            f"Sections are {_listed(SECTION_NAMES.values())}.",
        ) from None
    except configparser.ParsingError as error:
        line, _ = error.errors[0]  # not quoted: it may be a secret in the wrong place, or another program's file
        raise SettingsError(f"{path}, line {line} is not of the form `Key = value`.") from None
    return parser


def _listed(sections: Iterable[str]) -> str:
    return ", ".join(f"[{name}]" for name in sections)


def read_environment(environ: Mapping[str, str], model: type[Settings], plugins: Sequence[str]) -> Source:
    """Read VIDPIPE_<SECTION>_<KEY>; a variable of that form that names no key is a problem, not ignored."""
    source = Source("environment", "environment")
    known = {key.environment_name: key for key in all_keys(model)}
    squeezed = {name.replace("_", ""): name for name in known}
    for name, text in sorted(environ.items()):
        if name in known:
            source.values[known[name]] = text
            source.variables[known[name]] = name
        elif name.startswith("VIDPIPE_") and not name.startswith(_OTHER_VARIABLES) and not _KUBERNETES.fullmatch(name):
            if is_of_plugin(name.split("_")[1], plugins):
                source.notices.append(f"environment variable {name} {_UNUSED}")
                continue
            same = squeezed.get(name.replace("_", ""))
            source.problems.append(
                f"environment variable {name} is not a setting; the form is VIDPIPE_<SECTION>_<KEY>, as in "
                f"VIDPIPE_SCENEDETECTION_DETECTOR." + (f" Did you mean {same}?" if same else suggestion(name, known))
            )
    return source


def read_overrides(overrides: Mapping[str, Any], model: type[Settings]) -> Source:
    """Read the options of a command, by `Key.dotted` or Section.Key; None is skipped."""
    source = Source("command line", "command line")
    known = {name.lower(): key for key in all_keys(model) for name in (key.dotted, f"{key.section}.{key.name}")}
    for name, value in overrides.items():
        key = known.get(name.lower())
        if key is None:
            source.problems.append(
                f"command line: {name} is not a setting; the form is Section.Key, as in SceneDetection.Detector."
                + suggestion(name, [f"{key.section}.{key.name}" for key in all_keys(model)])
            )
        elif value is not None:
            source.values[key] = value
    return source
