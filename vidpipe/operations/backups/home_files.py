"""The files that configure a home: config.ini, rules and watched lists, without secrets."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from vidpipe.errors import SettingsError, UnavailableError, readable
from vidpipe.operations.backups.manifest import FileDigest, write_part
from vidpipe.redaction import redact
from vidpipe.safe_files import text_path
from vidpipe.settings import Settings, init_home
from vidpipe.settings.home import CONFIG_NAME, LOCAL_CONFIG_NAME, keep_old
from vidpipe.sources.list_files import CSV_SUFFIXES
from vidpipe.sources.urls import redacted_url

FOLDER = "settings"
_VARIABLE = re.compile(r"\$\{VIDPIPE_SOURCE_[A-Z0-9_]+\}")
_WORD = re.compile(r"""[^\s,;"']+""")


@dataclass
class SavedHomeFiles:
    """Files that were saved.

    Attributes:
        names: Paths in the home.
        notes: What was left out.
    """

    names: list[str] = field(default_factory=list)
    parts: dict[str, FileDigest] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def save(settings: Settings, config: Path | None, folder: Path) -> SavedHomeFiles:
    """Save the files.

    Args:
        settings: Of the home.
        config: The file that was read instead of the home's config.ini.
        folder: The backup.
    """
    saved = SavedHomeFiles()

    def put(name: str, content: bytes) -> None:
        saved.names.append(name)
        saved.parts[f"{FOLDER}/{name}"] = write_part(folder / FOLDER / name, content)

    config = config or settings.home / CONFIG_NAME
    if config.name == LOCAL_CONFIG_NAME:
        saved.notes.append(f"{config} may contain secrets and is not in the backup.")
    elif config.is_file():
        put(CONFIG_NAME, config.read_bytes())
    for path in sorted(set(_rules(settings))):
        name = _in_home(settings, path, saved)
        if name:
            put(name, path.read_bytes())
    for listed in settings.paths.source_lists:
        path = settings.resolve(listed)
        name = _in_home(settings, path, saved) if path.is_file() else ""
        if name:
            content, left_out = _without_secrets(path)
            put(name, content)
            if left_out:
                lines = "1 line is" if left_out == 1 else f"{left_out} lines are"
                saved.notes.append(
                    f"{name}: {lines} left out because of a secret in a URL (write it as ${{VIDPIPE_SOURCE_NAME}})."
                )
    return saved


def _rules(settings: Settings) -> Iterator[Path]:
    rules = settings.rules
    named = [rules.custom_tag_rules, rules.priority_keywords, rules.categories, rules.questions]
    named += [Path(rules.tag_vocabulary)] if rules.tag_vocabulary else []
    yield from (path for path in map(settings.resolve, named) if path.is_file())
    yield from settings.resolve(rules.prompts).glob("*.j2")
    for path in (settings.home / "rules").rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(settings.home).parts):
            yield path


def _in_home(settings: Settings, path: Path, saved: SavedHomeFiles) -> str:
    """Its path in the home; empty, with a note, if it is elsewhere."""
    name = text_path(settings.relative(path))
    inside = name.relative_to(settings.home) if name.is_relative_to(settings.home) else name
    if inside.is_absolute() or ".." in inside.parts:
        saved.notes.append(f"{readable(str(name))} is outside the home and not in the backup.")
        return ""
    return inside.as_posix()


def _without_secrets(path: Path) -> tuple[bytes, int]:
    """A watched list whose lines with a plain secret became comments (in CSV: were removed), and their number."""
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode()
    lines = data.decode("utf-8", "surrogateescape").splitlines(keepends=True)
    kept: list[str] = []
    left_out = 0
    for line in lines:
        masked = _WORD.sub(lambda found: _masked(found.group()), line)
        if masked == line:
            kept.append(line)
            continue
        left_out += 1
        if path.suffix.lower() not in CSV_SUFFIXES:
            comment = line.lstrip().startswith("#")
            kept.append(masked if comment else f"# left out of the backup, contains a secret: {masked}")
    return "".join(kept).encode("utf-8", "surrogateescape"), left_out


def _masked(word: str) -> str:
    """`word` with secrets masked; unchanged if each secret is written as a variable."""
    if "://" not in word:
        return redact(word)
    plain = _VARIABLE.sub("", word)
    try:
        user = urlsplit(plain).netloc.rpartition("@")[0]
    except ValueError:
        return redact(word)
    if user.endswith(":") and user.count(":") == 1:  # a user whose password is a variable
        plain = plain.replace(f"{user}@", "", 1)
    plain = plain.replace("://@", "://", 1)
    return word if redacted_url(plain) == plain == redact(plain) else redact(redacted_url(word))


def restore_home_files(home: Path, folder: Path, names: tuple[str, ...]) -> list[str]:
    """Copy settings/ of a backup into a home, and create what else the home needs.

    Args:
        home: The home. A file that differs is kept as NAME.bak.
        folder: The backup.
        names: The files, by their paths in the home.

    Returns:
        The files that were written.

    Raises:
        UnavailableError: A file cannot be written.
    """
    written = []
    for name in names:
        if Path(name).name == LOCAL_CONFIG_NAME:
            continue
        target, content = home / name, (folder / FOLDER / name).read_bytes()
        try:
            if target.is_file():
                if target.read_bytes() == content:
                    continue
                keep_old(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            raise UnavailableError(f"{target} cannot be written: {error.strerror or error}.") from error
        written.append(name)
    try:
        init_home(home)
    except SettingsError as error:
        raise UnavailableError(error.message, error.hint) from error
    return written
