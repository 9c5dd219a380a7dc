"""The home: the folder with config.ini, rules/ and data/. How it is found, created, and what it is created from."""

import os
import re
import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vidpipe.errors import SettingsError
from vidpipe.safe_files import free_bytes, nearest_existing, read_regular_text
from vidpipe.settings.keys import Key, all_keys
from vidpipe.settings.schema import SECTION_NAMES, Settings, section_models

CONFIG_NAME = "config.ini"
LOCAL_CONFIG_NAME = "config.local.ini"

_SECTION_LINE = re.compile(r"^\s*\[([^\]]+)\]", re.MULTILINE)
_GITIGNORE = f"""# secrets and generated files
{LOCAL_CONFIG_NAME}
data/*
!data/urls.txt
.*.lock
"""
_CONFIG_HEAD = """\
# Settings of a vidpipe home: the folder of this file, with rules/ and data/.
#
# An empty value means the default. Comments go on lines of their own. `vidpipe config` prints the effective settings
# and where each one comes from. These override this file, the last one wins:
#   config.local.ini                 next to this file, same format, ignored by git; the place for secrets
#   VIDPIPE_<SECTION>_<KEY>          environment variables: VIDPIPE_MONGODB_URI, VIDPIPE_CONCURRENCY_MAXWORKERS
#   options of the vidpipe command
# Secrets (AccessKey, addresses with a password) are not allowed in this file.
"""
_COMMENT_WIDTH = 116
_PACKAGE = Path(__file__).parents[1]
_OF_NEW_HOMES = ("scenes.yaml", "vocabulary.yaml", "rules.schema.json")


def default_file(name: str) -> Path:
    """Return the path of a file or folder that a new home starts with, such as "rules" or "dagster.yaml".

    A wheel contains the files in vidpipe/defaults; a clone has them at its top level, where they also serve the clone
    as a home. Files that vidpipe or users of a clone fill in as they go (saved questions, watched URLs) therefore start
    from unedited templates.
    """
    template = _PACKAGE / "settings" / "templates" / Path(name).name
    if template.exists():
        return template
    in_wheel = _PACKAGE / "defaults"
    return (in_wheel if (in_wheel / "rules").is_dir() else _PACKAGE.parent) / name


#: Rules, categories and prompt templates of a home that has none.
DEFAULT_RULES = default_file("rules")


def find_home(
    home: Path | None = None, environ: Mapping[str, str] = os.environ, cwd: Path | None = None,
    *, otherwise: Path | None = None,
) -> Path:  # fmt: skip
    """Return the home: `home`, else VIDPIPE_HOME, else the nearest folder at or above `cwd` with a vidpipe config.ini.

    Without any of these, it is created in the folder `otherwise`, if given.

    Raises:
        SettingsError: There is none, or the named one has no config.ini.
    """
    if home is not None:
        return _checked(home, "--home")
    if environ.get("VIDPIPE_HOME"):
        return _checked(Path(environ["VIDPIPE_HOME"]), "VIDPIPE_HOME")
    start = (cwd or Path.cwd()).resolve()
    foreign = []
    for folder in (start, *start.parents):
        config = folder / CONFIG_NAME
        if config.is_file():
            if _is_ours(config):
                return folder
            foreign.append(str(config))
    if otherwise:
        return init_home(otherwise).home
    found = f" ({', '.join(foreign)} has no vidpipe sections.)" if foreign else ""
    raise SettingsError(
        f"No vidpipe home at {start} or in a folder above it.{found}",
        "Create one with `vidpipe init`, or pass --home or set VIDPIPE_HOME.",
    )


def _checked(home: Path, named_by: str) -> Path:
    home = home.expanduser().resolve()
    if (home / CONFIG_NAME).is_file():
        return home
    fault = f"contains no {CONFIG_NAME}" if home.is_dir() else "is not a folder"
    raise SettingsError(f"{named_by} is {home}, which {fault}.", f"Create a home there with `vidpipe init {home}`.")


def _is_ours(config: Path) -> bool:
    """Return whether half of the sections or more are those of vidpipe: others use [Paths], too."""
    try:
        sections = _SECTION_LINE.findall(read_regular_text(config, "replace"))
    except OSError:
        return False
    known = {name.lower() for name in SECTION_NAMES.values()}
    ours = sum(section.strip().lower() in known for section in sections)
    return ours > 0 and ours * 2 >= len(sections)


@dataclass(frozen=True)
class InitReport:
    """What `init_home` did.

    Attributes:
        home: The home.
        made: New files; as the others relative to the home.
        replaced: Overwritten because of `force`.
        kept: Existing files, left unchanged.
    """

    home: Path
    made: tuple[str, ...]
    replaced: tuple[str, ...]
    kept: tuple[str, ...]

    def sentence(self) -> str:
        """Return the report as one sentence."""
        parts = [
            f"{verb} {', '.join(names)}"
            for verb, names in (("created", self.made), ("replaced", self.replaced), ("kept", self.kept))
            if names
        ]
        return f"vidpipe home {self.home}: " + "; ".join(parts) + "."


def init_home(directory: Path, force: bool = False) -> InitReport:
    """Make `directory` a home: config.ini, rules/, data/urls.txt, .gitignore, and the files that `dagster dev` reads.

    Args:
        directory: Created if it does not exist. Existing files are kept.
        force: Overwrite config.ini and the shipped rules; the old text is copied to NAME.bak. The list of URLs,
            config.local.ini and .gitignore are never touched.

    Raises:
        SettingsError: A file cannot be written.
    """
    home = directory.expanduser().resolve()
    replaceable = {
        CONFIG_NAME: render_config().encode(),
        **{name: default_file(name).read_bytes() for name in (*_rule_files(home), "dagster.yaml", "workspace.yaml")},
    }
    kept_always = {"data/urls.txt": default_file("data/urls.txt").read_bytes(), ".gitignore": _GITIGNORE.encode()}
    made, replaced, kept = [], [], []
    for name, content in (replaceable | kept_always).items():
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
                f"{target} cannot be written: {error.strerror or error}.", "Choose a writable folder."
            ) from error
    return InitReport(home, tuple(made), tuple(replaced), tuple(kept))


def _rule_files(home: Path) -> list[str]:
    files = ["custom_tags.json", "categories.json", "priority_keywords.json", "questions.json"]
    existing = (home / "rules" / files[0]).exists()  # its rules stay as they are
    files += [name for name in _OF_NEW_HOMES if not existing or (home / "rules" / name).exists()]
    prompts = sorted(path.name for path in (DEFAULT_RULES / "prompts").glob("*.j2"))
    return [f"rules/{name}" for name in (*files, *(f"prompts/{name}" for name in prompts))]


def keep_old(file: Path) -> None:
    """Copy `file` to the first free NAME.bak, NAME.bak.2, ..."""
    number = 1
    while (copy := file.with_name(f"{file.name}.bak" + (f".{number}" if number > 1 else ""))).exists():
        number += 1
    shutil.copyfile(file, copy)


def render_config() -> str:
    """Return the text of a new config.ini: every key but the secrets, with its description and default."""
    parts = [_CONFIG_HEAD]
    for section in section_models(Settings).values():
        parts.append("\n" + _comment(section.__doc__ or ""))
        parts.append(f"[{section.__name__}]\n")
        for key in all_keys():
            if key.model is section and not key.secret:
                parts.append(f"{_comment(_explanation(key))}{key.name} = {key.default_text}".rstrip() + "\n")
    return "".join(parts)


def _explanation(key: Key) -> str:
    facts = [] if key.allowed in ("text", "a path", "a comma-separated list") else [key.allowed]
    if key.default_text:
        facts.append(f"default {key.default_text}")
    sentence = "; ".join(facts)
    return key.description + (f" {sentence[0].upper()}{sentence[1:]}." if facts else "")


def _comment(text: str) -> str:
    lines = textwrap.wrap(" ".join(text.split()), _COMMENT_WIDTH, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def free_by_disk(settings: Settings) -> dict[str, int]:
    """Return the free bytes of each disk by the first folder on it (media store, derived files, data)."""
    found: dict[int, tuple[str, int]] = {}
    for folder in (settings.media_directory, settings.derived_directory, settings.data_directory):
        disk = nearest_existing(folder).stat().st_dev
        if disk not in found:
            found[disk] = (settings.relative(folder), free_bytes(folder))
    return dict(found.values())
