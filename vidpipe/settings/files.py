"""The layers of settings as they are written: INI files, environment variables, options of a command."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidpipe.errors import SettingsError
from vidpipe.redaction import SOURCE_SECRETS
from vidpipe.safe_files import read_regular_text
from vidpipe.settings.keys import Key, all_keys, holds_secret, suggestion
from vidpipe.settings.schema import SECTION_NAMES

#: Variables with our prefix that are no settings.
RESERVED_VARIABLES = ("VIDPIPE_HOME",)
RESERVED_PREFIXES = (SOURCE_SECRETS, "VIDPIPE_TEST_", "VIDPIPE_BENCH_")
#: What Kubernetes sets in every pod for a service named vidpipe: VIDPIPE_SERVICE_HOST, VIDPIPE_PORT_80_TCP_ADDR.
_OF_KUBERNETES = re.compile(
    r"VIDPIPE_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


@dataclass
class Layer:
    """Values from one place. where: in errors, the full path; source: in `vidpipe config`."""

    where: str
    source: str
    values: dict[Key, Any] = field(default_factory=dict)
    variables: dict[Key, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def place(self, key: Key) -> str:
        """Where `key` was found, to begin an error's sentence with."""
        return f"environment variable {self.variables[key]}" if key in self.variables else f"{self.where}: {key.label}"

    def source_of(self, key: Key) -> str:
        return f"environment {self.variables[key]}" if key in self.variables else self.source


def file_layer(path: Path, source: str, *, secrets_allowed: bool) -> Layer:
    """The values of an INI file. Sections and keys are compared without regard to case.

    What is wrong in it is collected in `problems`; a file that cannot be read or parsed raises SettingsError.
    """
    layer = Layer(str(path), source)
    parser = _read(path)
    seen: dict[str, str] = {}
    for section in parser.sections():
        name = next((known for known in SECTION_NAMES.values() if known.lower() == section.lower()), None)
        if name is None:
            layer.problems.append(
                f"{path}: [{section}] is not a section of vidpipe; allowed are "
                f"{', '.join(f'[{known}]' for known in SECTION_NAMES.values())}."
                + suggestion(section, SECTION_NAMES.values())
            )
            continue
        if name in seen:
            layer.problems.append(f"{path}: [{section}] and [{seen[name]}] are the same section; write it once.")
        seen[name] = section
        keys = {key.name.lower(): key for key in all_keys() if key.section == name}
        for written, text in parser.items(section):
            key = keys.get(written.lower())
            if key is None:
                layer.problems.append(f"{path}: {_unknown_key(name, written, keys)}")
            elif key in layer.values:
                layer.problems.append(f"{path}: {key.label} is there twice; write it once.")
            elif not secrets_allowed and holds_secret(key, text):
                layer.problems.append(
                    f"{path}: {key.label} holds a secret, and this file is not the place for one: it may be shared or "
                    f"tracked by git. Move it to config.local.ini beside config.ini, or to the environment variable "
                    f"{key.environment_name}."
                )
            else:
                layer.values[key] = text
    return layer


def _unknown_key(section: str, written: str, keys: Mapping[str, Key]) -> str:
    homes = [key.section for key in all_keys() if key.name.lower() == written.lower()]
    if homes:
        return f"[{section}] {written} is in the wrong section; it belongs in [{homes[0]}]."
    names = [key.name for key in keys.values()]
    return f"[{section}] {written} is not a key; allowed are {', '.join(names)}.{suggestion(written, names)}"


def _read(path: Path) -> configparser.ConfigParser:
    # No section is special to us, so configparser's DEFAULT gets a name that nobody writes.
    parser = configparser.ConfigParser(interpolation=None, default_section="\0")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(read_regular_text(path), source=str(path))
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror or error}.", "`vidpipe init` makes one."
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text (byte {error.start}).", "Save it as UTF-8.") from error
    except configparser.DuplicateSectionError as error:
        raise SettingsError(f"{path}, line {error.lineno}: [{error.section}] is there twice; write it once.") from error
    except configparser.DuplicateOptionError as error:
        raise SettingsError(
            f"{path}, line {error.lineno}: [{error.section}] {error.option} is there twice; write it once."
        ) from error
    except configparser.MissingSectionHeaderError as error:
        raise SettingsError(
            f"{path}, line {error.lineno}: text precedes the first [Section].",
            "The sections are " + ", ".join(f"[{name}]" for name in SECTION_NAMES.values()) + ".",
        ) from None
    except configparser.ParsingError as error:
        line, _ = error.errors[0]  # not quoted: it may be a secret in the wrong place, or another program's file
        raise SettingsError(f"{path}, line {line} is not of the form `Key = value`.") from None
    return parser


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """The values of VIDPIPE_<SECTION>_<KEY>; a variable of that form that is no key is a problem, not ignored."""
    layer = Layer("environment", "environment")
    known = {key.environment_name: key for key in all_keys()}
    for name, text in sorted(environ.items()):
        if not name.startswith("VIDPIPE_") or name in RESERVED_VARIABLES or name.startswith(RESERVED_PREFIXES):
            continue
        if name in known:
            layer.values[known[name]] = text
            layer.variables[known[name]] = name
        elif not _OF_KUBERNETES.fullmatch(name):
            squeezed = {other.replace("_", ""): other for other in known}
            same = squeezed.get(name.replace("_", ""))
            layer.problems.append(
                f"environment variable {name} names no setting; the form is VIDPIPE_<SECTION>_<KEY>, as in "
                f"VIDPIPE_SCENEDETECTION_DETECTOR." + (f" Did you mean {same}?" if same else suggestion(name, known))
            )
    return layer


def override_layer(overrides: Mapping[str, Any]) -> Layer:
    """Values from options of a command: "scene_detection.detector" or "SceneDetection.Detector" -> text or value.

    None means that the option was not given.
    """
    layer = Layer("command line", "command line")
    known = {name.lower(): key for key in all_keys() for name in (key.dotted, f"{key.section}.{key.name}")}
    for name, value in overrides.items():
        key = known.get(name.lower())
        if key is None:
            layer.problems.append(
                f"command line: {name} names no setting; the form is Section.Key, as in SceneDetection.Detector."
                + suggestion(name, [f"{key.section}.{key.name}" for key in all_keys()])
            )
        elif value is not None:
            layer.values[key] = value
    return layer
