"""The files of a home that steer it: config.ini, rules and watched lists, without a secret."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from vidpipe.errors import SettingsError, UnavailableError, readable
from vidpipe.library.backups.manifest import HashingFile, Part
from vidpipe.redaction import redact
from vidpipe.settings import Settings, init_home
from vidpipe.settings.home import CONFIG_NAME, LOCAL_CONFIG_NAME, keep_old
from vidpipe.settings.stored_paths import text_path
from vidpipe.sources.list_files import CSV_SUFFIXES
from vidpipe.sources.urls import redacted_url

FOLDER = "settings"
_VARIABLE = re.compile(r"\$\{VIDPIPE_SOURCE_[A-Z0-9_]+\}")
_WORD = re.compile(r"""[^\s,;"']+""")


@dataclass
class HomeFiles:
    """names: paths in the home; notes: what was left out."""

    names: list[str] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def save(settings: Settings, config: Path | None, folder: Path) -> HomeFiles:
    """Writes them into `folder`/settings. config: read in the place of the home's config.ini."""
    saved = HomeFiles()

    def put(name: str, content: bytes) -> None:
        file = HashingFile(folder / FOLDER / name)
        file.write(content)
        saved.names.append(name)
        saved.parts[f"{FOLDER}/{name}"] = file.close()

    config = config or settings.home / CONFIG_NAME
    if config.name == LOCAL_CONFIG_NAME:
        saved.notes.append(f"{config} may hold secrets; it is not in the back-up.")
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
            content, left_out = without_secrets(path)
            put(name, content)
            if left_out:
                lines = "1 line is" if left_out == 1 else f"{left_out} lines are"
                saved.notes.append(
                    f"{name}: {lines} left out, because an address there holds a secret "
                    "(one written as ${VIDPIPE_SOURCE_NAME} is kept)."
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


def _in_home(settings: Settings, path: Path, saved: HomeFiles) -> str:
    """Its path in the home; empty, with a note, where it lies elsewhere."""
    name = text_path(settings.relative(path))
    inside = name.relative_to(settings.home) if name.is_relative_to(settings.home) else name
    if inside.is_absolute() or ".." in inside.parts:
        saved.notes.append(f"{readable(str(name))} lies outside of the home; it is not in the back-up.")
        return ""
    return inside.as_posix()


def without_secrets(path: Path) -> tuple[bytes, int]:
    """A watched list, and how many lines with a plain secret became comments (in CSV: were left out)."""
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
            kept.append(masked if comment else f"# left out of the back-up, it holds a secret: {masked}")
    return "".join(kept).encode("utf-8", "surrogateescape"), left_out


def _masked(word: str) -> str:
    """`word` with what is secret in it replaced; as it is where a variable stands for each secret."""
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


def put_back(home: Path, folder: Path, names: tuple[str, ...]) -> list[str]:
    """Copies settings/ of a back-up into `home`; a file that is there and differs goes to NAME.bak. Gives what was
    written; what a home needs besides is made. Raises UnavailableError where it cannot be written."""
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
