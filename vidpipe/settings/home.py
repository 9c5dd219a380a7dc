"""The home: the folder with config.ini, rules/ and data/. Where it is, and how one is made."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from vidpipe.errors import SettingsError
from vidpipe.safe_files import read_regular_text
from vidpipe.settings.schema import SECTION_NAMES
from vidpipe.settings.template import render_config

CONFIG_NAME = "config.ini"
LOCAL_CONFIG_NAME = "config.local.ini"

_SECTION_LINE = re.compile(r"^\s*\[([^\]]+)\]", re.MULTILINE)
_IGNORED = f"""# secrets and what a run makes
{LOCAL_CONFIG_NAME}
data/*
!data/urls.txt
.questions.json.lock
"""


def find_home(home: Path | None = None, environ: Mapping[str, str] = os.environ, cwd: Path | None = None) -> Path:
    """The home in force: `home`, else VIDPIPE_HOME, else the nearest folder at or above `cwd` with our config.ini.

    Raises SettingsError if there is none, or the named one has no config.ini.
    """
    if home is not None:
        return _checked(home, "The home that was asked for")
    if environ.get("VIDPIPE_HOME"):
        return _checked(Path(environ["VIDPIPE_HOME"]), "VIDPIPE_HOME")
    start = (cwd or Path.cwd()).resolve()
    strangers = []
    for folder in (start, *start.parents):
        config = folder / CONFIG_NAME
        if config.is_file():
            if _is_ours(config):
                return folder
            strangers.append(str(config))
    found = f" ({', '.join(strangers)} has no section of vidpipe's.)" if strangers else ""
    raise SettingsError(
        f"No vidpipe home at {start} or in a folder above it.{found}",
        "Make one with `vidpipe init`, or name one with --home or VIDPIPE_HOME.",
    )


def _checked(home: Path, named_by: str) -> Path:
    home = home.expanduser().resolve()
    if not home.is_dir():
        raise SettingsError(
            f"{named_by} is {home}, which is not a folder.", f"Make a home there with `vidpipe init {home}`."
        )
    if not (home / CONFIG_NAME).is_file():
        raise SettingsError(
            f"{named_by} is {home}, which holds no {CONFIG_NAME}.", f"Make a home there with `vidpipe init {home}`."
        )
    return home


def _is_ours(config: Path) -> bool:
    """At least half of the file's sections are ours: other programs have a config.ini with a [Paths] as well."""
    try:
        sections = _SECTION_LINE.findall(read_regular_text(config, "replace"))
    except OSError:
        return False
    known = {name.lower() for name in SECTION_NAMES.values()}
    ours = sum(section.strip().lower() in known for section in sections)
    return ours > 0 and ours * 2 >= len(sections)


@dataclass(frozen=True)
class InitReport:
    """What `init_home` did; paths are relative to `home`.

    made: new; replaced: overwritten because of `force`; kept: there already, left as they were.
    """

    home: Path
    made: tuple[str, ...]
    replaced: tuple[str, ...]
    kept: tuple[str, ...]

    def sentence(self) -> str:
        parts = [
            f"{verb} {', '.join(names)}"
            for verb, names in (("made", self.made), ("replaced", self.replaced), ("kept", self.kept))
            if names
        ]
        return f"vidpipe home {self.home}: " + "; ".join(parts) + "."


def init_home(directory: Path, force: bool = False) -> InitReport:
    """Makes `directory` a home: config.ini with every key explained, rules/, data/urls.txt, what `dagster dev` reads,
    and a .gitignore.

    What is there already stays as it is. With `force`, config.ini and the shipped rules files are written anew and the
    old text goes to NAME.bak; the list of URLs, config.local.ini and .gitignore are never touched.
    Raises SettingsError if the folder cannot be made or written.
    """
    home = directory.expanduser().resolve()
    wanted: dict[str, bytes] = {CONFIG_NAME: render_config().encode()}
    defaults = resources.files("vidpipe") / "defaults"
    for name, source in _files_below(defaults / "rules", "rules"):
        wanted[name] = source.read_bytes()
    for name in ("dagster.yaml", "workspace.yaml"):  # what plain `dagster dev` in the home looks for
        wanted[name] = (defaults / name).read_bytes()
    replaceable = frozenset(wanted)
    wanted["data/urls.txt"] = (defaults / "urls.txt").read_bytes()
    wanted[".gitignore"] = _IGNORED.encode()

    made, replaced, kept = [], [], []
    for name, content in wanted.items():
        target = home / name
        try:
            if not target.exists():
                made.append(name)
            elif force and name in replaceable and target.read_bytes() != content:
                keep_old(target)
                replaced.append(name)
            else:
                kept.append(name)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            raise SettingsError(
                f"{target} cannot be written: {error.strerror or error}.", "Choose a folder that you may write to."
            ) from error
    return InitReport(home, tuple(made), tuple(replaced), tuple(kept))


def keep_old(file: Path) -> None:
    """Copies `file` to the first free NAME.bak, NAME.bak.2, ..."""
    number = 1
    while (copy := file.with_name(f"{file.name}.bak" + (f".{number}" if number > 1 else ""))).exists():
        number += 1
    copy.write_bytes(file.read_bytes())


def _files_below(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    if not folder.is_dir():
        return []
    found: list[tuple[str, Traversable]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = f"{prefix}/{entry.name}"
        found += _files_below(entry, name) if entry.is_dir() else [(name, entry)]
    return found
