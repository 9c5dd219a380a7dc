"""The log file and audit.jsonl. Both are rotated, and no secret reaches them.

Several processes write at once: `vidpipe run` in two terminals, Dagster's daemon and its runs. The standard
RotatingFileHandler would lose lines, because each process renames the file under the others; concurrent-log-handler
takes a file lock for each write and rotation. A central logging process does not fit: no vidpipe process outlives the
others.
"""

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
from vidpipe.redaction import MASK, hide, redact, redact_by_form
from vidpipe.safe_files import check_replaceable, open_private, private_directory
from vidpipe.settings.keys import secret_values
from vidpipe.settings.schema import Settings

LOGGER_NAME = "vidpipe"
AUDIT_NAME = "audit.jsonl"

_AUDIT_LOGGER = f"{LOGGER_NAME}.audit"
_NOTICE_LOGGER = f"{LOGGER_NAME}.notices"
_LINE = "%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s"


def _clean(text: str) -> str:
    return readable(redact(text))


def _as_json(value: Any) -> Any:
    """`value` as JSON types without secrets; objects of other types become text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {
            str(name): MASK if entry and _is_secret(str(name)) else _as_json(entry) for name, entry in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_json(entry) for entry in value]
    return _clean(str(value))


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return redact_by_form(f"{name}=x") != f"{name}=x"


class _TextFormatter(logging.Formatter):
    """One line per record, redacted as a whole: message, traceback and stack."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        # Page contents and file names are hostile: they must not forge a line or control a terminal.
        record.message = "\n    ".join(map(visible, record.message.split("\n")))
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return _clean(super().format(record))


def _json_line(record: logging.LogRecord, **fields: Any) -> str:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return json.dumps({"at": at, **_as_json(fields)})


class _JsonFormatter(logging.Formatter):
    """One JSON object per line: at, level, process, logger, message, and exception if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        exception = {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
        fields = {"level": record.levelname, "process": record.process, "logger": record.name}
        return _json_line(record, **fields, message=record.getMessage(), **exception)


class _AuditFormatter(logging.Formatter):
    """One JSON object per line: at, event, process, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        own = {"at", "event", "process"}
        fields = {name: value for name, value in getattr(record, "fields", {}).items() if name not in own}
        return _json_line(record, event=record.getMessage(), process=record.process, **fields)


def configure_logging(settings: Settings) -> None:
    """Send log records to LogFile and `audit` events to audit.jsonl next to it, as [Logging] says.

    Only loggers below "vidpipe" are configured, not Dagster's. A second call replaces the first. From then on `redact`
    masks the secrets of `settings`.

    Raises:
        SettingsError: The folder or the files cannot be written.
    """
    log_file = settings.resolve(settings.logging.log_file)
    reset_logging()
    hide(secret_values(settings))
    formatter = _JsonFormatter() if settings.logging.format == "json" else _TextFormatter(_LINE)
    log = _handler(log_file, settings, formatter)
    log.setLevel(settings.logging.level)  # on the handler: notices reach the terminal at any level
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(settings.logging.level)
    logger.addHandler(log)

    auditor = logging.getLogger(_AUDIT_LOGGER)
    auditor.setLevel(logging.INFO)
    auditor.propagate = False
    auditor.addHandler(_handler(log_file.with_name(AUDIT_NAME), settings, _AuditFormatter()))


def reset_logging() -> None:
    """Undo `configure_logging` and close the files."""
    hide(frozenset())
    for name in (LOGGER_NAME, _AUDIT_LOGGER):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            if isinstance(handler, ConcurrentRotatingFileHandler):
                logger.removeHandler(handler)
                handler.close()


def audit(event: str, **fields: Any) -> None:
    """Write one line to audit.jsonl: {"at", "event", "process", **fields}. Does nothing before `configure_logging`.

    Args:
        event: What happened, as a short fixed name: "video added", "stage failed", "search".
        **fields: Plain values, lists and mappings; anything else is written as text. Secrets are masked.
    """
    logging.getLogger(_AUDIT_LOGGER).info(event, extra={"fields": fields})


def notice(text: str) -> None:
    """Show `text` to the user of the running command, if there is one (see `notices_shown`), and log it."""
    logging.getLogger(_NOTICE_LOGGER).info(text)


@contextmanager
def notices_shown(show: Callable[[str], None]) -> Iterator[None]:
    """Pass each `notice` of this process, from any thread and redacted, to `show` while the block runs."""
    logger, handler = logging.getLogger(_NOTICE_LOGGER), _NoticeHandler(show)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


class _NoticeHandler(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._show(redact(record.getMessage()))
        except Exception:  # a terminal that is gone
            self.handleError(record)


class _FileHandler(ConcurrentRotatingFileHandler):
    """Reports once that it cannot write (a full disk), without stopping the work."""

    reported = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.reported:
            self.reported = True
            sys.stderr.write(f"Cannot write to {self.baseFilename}: {sys.exc_info()[1]}.\n")


def _handler(path: Path, settings: Settings, formatter: logging.Formatter) -> ConcurrentRotatingFileHandler:
    try:
        check_replaceable(path)
        private_directory(path.parent)
        open_private(path).close()
    except OSError as error:
        raise SettingsError(
            f"[Logging] LogFile: {path} cannot be written: {error.strerror or error}.",
            "Choose another file, or make the folder writable.",
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
