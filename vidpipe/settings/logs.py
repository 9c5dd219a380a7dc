"""The log file for people and audit.jsonl for programs. Both rotate, and nothing secret reaches them.

Several processes write at once: `vidpipe run` in two terminals, Dagster's daemon and its runs. The standard
RotatingFileHandler loses lines there, since each process renames the file under the others; concurrent-log-handler
takes a file lock for each write and each rotation. Python's own way out, one process that all others send their
records to, does not fit: no process of ours outlives the others.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from concurrent_log_handler import ConcurrentRotatingFileHandler

from vidpipe.errors import SettingsError, readable, visible
from vidpipe.redaction import MASK, hide, mask, redact, redact_by_form
from vidpipe.safe_files import check_replaceable, open_private, private_directory
from vidpipe.settings.load import secret_values
from vidpipe.settings.schema import Settings

LOGGER_NAME = "vidpipe"
AUDIT_NAME = "audit.jsonl"

_AUDIT_LOGGER = f"{LOGGER_NAME}.audit"
_NOTICE_LOGGER = f"{LOGGER_NAME}.notices"
_LINE = "%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s"


class Redactor:
    """Masks the exact `secrets`, and whatever looks like one (see `vidpipe.errors.redact`)."""

    def __init__(self, secrets: frozenset[str] = frozenset()) -> None:
        self._secrets = secrets

    def clean(self, text: str) -> str:
        return readable(redact(mask(text, self._secrets)))

    def plain(self, value: Any) -> Any:
        """`value` as cleaned JSON types; what is none of them becomes its text."""
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, Mapping):
            return {str(name): self._named(str(name), entry) for name, entry in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.plain(entry) for entry in value]
        return self.clean(str(value))

    def _named(self, name: str, value: Any) -> Any:
        return MASK if value and _is_secret(name) else self.plain(value)


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return redact_by_form(f"{name}=x") != f"{name}=x"


class _PeopleFormatter(logging.Formatter):
    """One line a record, redacted as a whole: message, traceback and stack."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__(_LINE)
        self._redactor = redactor

    def formatMessage(self, record: logging.LogRecord) -> str:
        # Page contents and file names are hostile: they must not forge a line or steer a terminal.
        record.message = "\n    ".join(map(visible, record.message.split("\n")))
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.clean(super().format(record))


class _AuditFormatter(logging.Formatter):
    """One JSON object a line: at, event, process, and the event's fields."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "event": self._redactor.clean(record.getMessage()),
            "process": record.process,
        }
        fields = self._redactor.plain(getattr(record, "fields", {}))
        return json.dumps(entry | {name: value for name, value in fields.items() if name not in entry})


def configure_logging(settings: Settings) -> None:
    """Sends what vidpipe logs to LogFile, and `audit` events to audit.jsonl beside it, as [Logging] says.

    Only loggers below "vidpipe" are touched; Dagster's own stay as they are. A second call replaces the first.
    From then on `redact` masks the secrets of `settings` wherever texts leave the process.
    Raises SettingsError if the folder or the files cannot be written.
    """
    log_file = settings.resolve(settings.logging.log_file)
    reset_logging()
    secrets = secret_values(settings)
    hide(secrets)
    redactor = Redactor(secrets)
    people = _handler(log_file, settings, _PeopleFormatter(redactor))
    people.setLevel(settings.logging.level)  # notices reach the terminal whatever the level
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(settings.logging.level)
    logger.addHandler(people)

    programs = _handler(log_file.with_name(AUDIT_NAME), settings, _AuditFormatter(redactor))
    auditor = logging.getLogger(_AUDIT_LOGGER)
    auditor.setLevel(logging.INFO)
    auditor.propagate = False
    auditor.addHandler(programs)


def reset_logging() -> None:
    """Takes back what `configure_logging` did and closes the files."""
    hide(frozenset())
    for name in (LOGGER_NAME, _AUDIT_LOGGER):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            if isinstance(handler, ConcurrentRotatingFileHandler):
                logger.removeHandler(handler)
                handler.close()


def audit(event: str, **fields: Any) -> None:
    """Writes one line to audit.jsonl: {"at", "event", "process", **fields}. Without `configure_logging`, nothing.

    event:  what happened, a short fixed name: "video added", "stage failed", "search"
    fields: plain values, lists and mappings; anything else is written as its text. Secrets are masked.
    """
    logging.getLogger(_AUDIT_LOGGER).info(event, extra={"fields": fields})


def notice(text: str) -> None:
    """Tells whoever gave the command, where somebody did (see `notices_shown`), and the log file."""
    logging.getLogger(_NOTICE_LOGGER).info(text)


@contextmanager
def notices_shown(show: Callable[[str], None]) -> Iterator[None]:
    """Gives each `notice` of this process to `show` (redacted; from any thread) while the block runs."""
    logger, shown = logging.getLogger(_NOTICE_LOGGER), _Shown(show)
    logger.addHandler(shown)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(shown)
        logger.setLevel(logging.NOTSET)


class _Shown(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._show(redact(record.getMessage()))
        except Exception:  # a terminal that is gone
            self.handleError(record)


class _FileHandler(ConcurrentRotatingFileHandler):
    """One that says once, in a sentence, that it cannot write (a full disk); the work goes on."""

    told = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.told:
            self.told = True
            sys.stderr.write(f"Nothing can be written to {self.baseFilename}: {sys.exc_info()[1]}.\n")


def _handler(path: Path, settings: Settings, formatter: logging.Formatter) -> ConcurrentRotatingFileHandler:
    try:
        check_replaceable(path)
        private_directory(path.parent)
        open_private(path).close()
    except OSError as error:
        raise SettingsError(
            f"[Logging] LogFile: {path} cannot be written: {error.strerror or error}.",
            "Name another file, or make the folder writable.",
        ) from error
    handler = _FileHandler(
        str(path),
        maxBytes=settings.logging.max_size_mb * 1_000_000,
        backupCount=settings.logging.keep,
        encoding="utf-8",
        chmod=0o600,
        unicode_error_policy="replace",
    )
    handler.setFormatter(formatter)
    return handler
