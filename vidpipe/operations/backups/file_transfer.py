"""Files of a home in a backup: media and frame packs, config.ini, rules and watched lists.

Media and frame packs are linked or copied into it, and copied out of it, each complete or not at all.
"""

import codecs
import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from vidpipe.errors import SettingsError, UnavailableError, readable
from vidpipe.media.frame_pack import TEMPORARY
from vidpipe.operations.backups.manifest import (
    BackupError,
    FileDigest,
    FileSummary,
    ProgressMonitor,
    path_inside,
    write_part,
)
from vidpipe.redaction import redact
from vidpipe.safe_files import text_path
from vidpipe.settings import Settings, init_home
from vidpipe.settings.home import CONFIG_NAME, LOCAL_CONFIG_NAME, keep_old
from vidpipe.sources.list_files import LIST_SUFFIXES, PARQUET_SUFFIX
from vidpipe.sources.urls import redacted_url
from vidpipe.tagging.rule_files import files_of_rules, further_files

MEDIA_LIST = "media.jsonl.gz"
MEDIA, DERIVED = "media", "derived"
#: Suffix of a file that is being copied.
COPYING = ".copying"
_BLOCK_BYTES = 1 << 20
_SHA256 = re.compile("[0-9a-f]{64}")
_MAX_NAMES = 20


@dataclass(frozen=True)
class BackedUpFile:
    """A video's file, as a line of the media list.

    Attributes:
        video: The video's sha256, which is the hash of the file.
        path: Relative to the home, or absolute.
        referenced: Whether the file is outside the media store.
    """

    video: str
    path: str
    size_bytes: int
    modified_ns: int
    referenced: bool = False

    @property
    def place(self) -> str:
        """Its path in the backup."""
        return f"{MEDIA}/{self.video[:2]}/{self.video}{Path(self.path).suffix[:20]}"

    def line(self) -> bytes:
        """Return its line."""
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass
class TransferCount:
    """Counts files by what happened to them.

    Attributes:
        present: Already there.
        names: Of the first missing or damaged files.
    """

    linked: int = 0
    copied: int = 0
    present: int = 0
    missing: int = 0
    damaged: int = 0
    size_bytes: int = 0
    names: list[str] = field(default_factory=list)

    @property
    def files(self) -> int:
        """Number of transferred files."""
        return self.linked + self.copied + self.present

    def summary(self, *, included: bool) -> FileSummary:
        """Return the counts as they appear in the manifest."""
        return FileSummary(included=included, files=self.files, size_bytes=self.size_bytes, missing=self.missing)

    def add(self, outcome: str, name: str, size_bytes: int = 0) -> None:
        """Count a file. `outcome` is the name of one of the counters."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome not in ("missing", "damaged"):
            self.size_bytes += size_bytes
        elif len(self.names) < _MAX_NAMES:
            self.names.append(name)


def media_file(video: Mapping[str, Any], raw: Mapping[str, Any] | None) -> BackedUpFile:
    """Return a video's file.

    Args:
        video: The video's document.
        raw: The result of the stage that checked the file last, and may have fetched it again.
    """
    facts = video["ingest"]
    last = raw if raw is not None and "path" in raw else facts
    return BackedUpFile(
        video["_id"], last["path"], last["size_bytes"], last["modified_ns"], bool(facts.get("referenced", False))
    )


def media_list(folder: Path) -> Iterator[BackedUpFile]:
    """Read the media list of a backup.

    Raises:
        BackupError: A line is invalid.
    """
    with gzip.open(folder / MEDIA_LIST, "rt", encoding="utf-8") as lines:
        for line in lines:
            file = BackedUpFile(**json.loads(line))
            if not _SHA256.fullmatch(file.video):
                raise BackupError(f"{folder / MEDIA_LIST} is damaged.", "Choose another backup.")
            yield file


def save_file(
    source: Path,
    target: Path,
    size_bytes: int | None,
    monitor: ProgressMonitor,
    *,
    link: bool,
    earlier: Path | None = None,
) -> str:
    """Link or copy a file into a backup.

    Args:
        source: The file.
        target: Its place in the backup.
        size_bytes: Its expected size; None for any.
        monitor: Can cancel.
        link: Whether a hard link will do; only for files that are never modified in place.
        earlier: The same file in the previous backup, which can always be linked.

    Returns:
        "linked", "copied", "present" or "missing".

    Raises:
        OSError: The backup's disk failed.
        BackupCancelled: The user canceled.
    """
    try:
        found = source.stat()
    except OSError:
        return "missing"
    if size_bytes is not None and found.st_size != size_bytes:
        return "missing"
    with contextlib.suppress(FileNotFoundError):
        if target.stat().st_size == found.st_size:
            return "present"
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    for same in [path for path in (source if link else None, earlier) if path is not None]:
        with contextlib.suppress(OSError):  # another disk, or one without links
            if same.stat().st_size == found.st_size:
                os.link(same, target)
                return "linked"
    return copy_file(source, target, monitor)


def copy_file(
    source: Path, target: Path, monitor: ProgressMonitor, sha256: str | None = None, modified_ns: int | None = None
) -> Literal["copied", "missing", "damaged"]:
    """Copy a file, if it has the right hash.

    Args:
        source: The file.
        target: Its new place, where nothing is left if the hash is wrong.
        monitor: Can cancel.
        sha256: The expected hash; None for any.
        modified_ns: The new modification time; None for that of `source`.

    Raises:
        OSError: The target's disk failed.
        BackupCancelled: The user canceled.
    """
    try:
        opened = source.open("rb")
        found = source.stat()
    except OSError:
        return "missing"
    part, digest = target.with_name(target.name + COPYING), hashlib.sha256()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened, part.open("wb") as file:
            while block := opened.read(_BLOCK_BYTES):
                monitor.check()
                file.write(block)
                if sha256 is not None:
                    digest.update(block)
            file.flush()
            os.fsync(file.fileno())
        if sha256 is not None and digest.hexdigest() != sha256:
            return "damaged"
        os.utime(part, ns=(found.st_atime_ns, found.st_mtime_ns if modified_ns is None else modified_ns))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return "copied"


def pack_files(derived: Path, sha256: str) -> Iterator[tuple[Path, str]]:
    """Yield every file of a video's complete frame packs, and its path in `derived`."""
    folder = derived / sha256
    for version in sorted(folder.iterdir()) if folder.is_dir() else ():
        if version.is_dir() and not version.name.startswith("."):
            files = (file for file in sorted(version.iterdir()) if file.name[0] != "." and file.is_file())
            yield from ((file, str(file.relative_to(derived))) for file in files)


def restore_packs(folder: Path, derived: Path, sha256: str, count: TransferCount, monitor: ProgressMonitor) -> None:
    """Copy a video's frame packs out of a backup; an existing folder is kept. Raises as `copy_file` does."""
    saved = folder / DERIVED / sha256
    if saved.is_symlink():
        return
    for version in sorted(saved.iterdir()) if saved.is_dir() else ():
        place = derived / path_inside(f"{sha256}/{version.name}")
        if place.is_dir():
            count.present += 1
            continue
        new = place.with_name(f"{TEMPORARY}{version.name}")
        shutil.rmtree(new, ignore_errors=True)
        try:
            for file in sorted(version.iterdir()):
                if file.is_file() and not file.is_symlink():
                    copy_file(file, new / file.name, monitor)
                    count.size_bytes += file.stat().st_size
            with contextlib.suppress(FileNotFoundError):  # an empty folder
                new.rename(place)
            count.copied += 1
        finally:
            shutil.rmtree(new, ignore_errors=True)


FOLDER = "settings"
_VARIABLE = re.compile(r"\$\{VIDPIPE_SOURCE_[A-Z0-9_]+\}")
_WORD = re.compile(r"""[^\s,;"']+""")


def save_home_files(settings: Settings, config: Path | None, folder: Path) -> tuple[dict[str, FileDigest], list[str]]:
    """Save the files that configure a home: config.ini, rules and watched lists, without secrets.

    Args:
        settings: Of the home.
        config: The file that was read instead of the home's config.ini.
        folder: The backup.

    Returns:
        Path in the home -> digest of its file in settings/ of the backup; and sentences about what was left out.
    """
    digests: dict[str, FileDigest] = {}
    notes: list[str] = []
    config = config or settings.home / CONFIG_NAME
    if config.name == LOCAL_CONFIG_NAME:
        notes.append(f"{config} may contain secrets and is not in the backup.")
    elif config.is_file():
        digests[CONFIG_NAME] = write_part(folder / FOLDER / CONFIG_NAME, config.read_bytes())
    rules = sorted(set(_rules(settings)))
    lists = [path for path in map(settings.resolve, settings.paths.source_lists) if path.is_file()]
    for number, path in enumerate((*rules, *lists)):
        name = text_path(settings.relative(path))
        inside = name.relative_to(settings.home) if name.is_relative_to(settings.home) else name
        if inside.is_absolute() or ".." in inside.parts or inside.suffix.lower() == PARQUET_SUFFIX:
            notes.append(f"{readable(str(name))} is outside the home, or Parquet, and not in the backup.")
            continue
        content, left_out = _without_secrets(path) if number >= len(rules) else (path.read_bytes(), 0)
        digests[inside.as_posix()] = write_part(folder / FOLDER / inside, content)
        if left_out:
            lines = "1 line is" if left_out == 1 else f"{left_out} lines are"
            notes.append(
                f"{inside.as_posix()}: {lines} left out because of a secret in a URL (write it as "
                "${VIDPIPE_SOURCE_NAME})."
            )
    return digests, notes


def _rules(settings: Settings) -> Iterator[Path]:
    yield from (path for path in files_of_rules(settings) if path.is_file())
    for path in (settings.home / "rules").rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(settings.home).parts):
            yield path


def _without_secrets(path: Path) -> tuple[bytes, int]:
    """A watched list whose lines with a plain secret became comments (in tables: were removed), and their number."""
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
        if path.suffix.lower() in LIST_SUFFIXES:
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


def restore_home_files(settings: Settings, folder: Path, names: tuple[str, ...]) -> list[str]:
    """Copy settings/ of a backup into a home, and create what else the home needs.

    Rule files that the backup does not have would be in force, too: they are renamed to NAME.bak.

    Args:
        settings: The settings. A file of the home that differs is kept as NAME.bak.
        folder: The backup.
        names: The files, by their paths in the home.

    Returns:
        The files that were written or renamed.

    Raises:
        UnavailableError: A file cannot be written.
    """
    home, written = settings.home, []
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
    for path, shown in further_files(settings):
        if shown not in names:
            keep_old(path)
            path.unlink()
            written.append(shown)
    try:
        init_home(home)
    except SettingsError as error:
        raise UnavailableError(error.message, error.hint) from error
    return written
