"""Failed sources: their records, when they are retried, and what a failure depends on besides the source.

A source that failed because of a setting, module, program, variable or full disk is due again as soon as that differs.
"""

import hashlib
import importlib.util
import json
import logging
import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from vidpipe.errors import MediaError, VidpipeError
from vidpipe.media.ffmpeg import ffmpeg_path, ffprobe_path
from vidpipe.network.fetch_errors import FaultKind, FetchError
from vidpipe.safe_files import free_bytes
from vidpipe.settings import Settings
from vidpipe.sources.media_store import DiskFullError
from vidpipe.sources.records import Dependency, SourceRecord
from vidpipe.sources.urls import SourceUrl, readable_url, redacted_url, scrub

log = logging.getLogger(__name__)

#: As errors name them in `depends_on`. None of these settings is a secret.
_SETTINGS = (
    "download.allowed_private",
    "download.max_size_mb",
    "download.max_redirects",
    "download.cookies_file",
    "download.format",
    "download.max_height",
    "download.use_proxy",
    "download.min_free_mb",
    "paths.download_directory",
    "limits.memory_mb",
    "limits.max_pixels",
    "limits.header_seconds",
)
_MODULES = ("boto3", "gcsfs", "adlfs", "dropbox", "paramiko")
_PROGRAMS = {"ffmpeg": ffmpeg_path, "ffprobe": ffprobe_path}
#: Their values count.
_VARIABLES = (
    *("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_ACCOUNT_NAME"),
)
#: Only whether they are set counts: nothing that is derived from a secret is stored.
_SECRET_VARIABLES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_CONNECTION_STRING"),
    *("DROPBOX_ACCESS_TOKEN", "DROPBOX_REFRESH_TOKEN", "DROPBOX_APP_KEY"),
)
_FIRST_RETRY_S = 60.0
_LONGEST_RETRY_S = 86400.0
_LONGEST_RETRY_AFTER_S = 7 * 86400.0
#: Failures in a row after which an unexpected error is permanent.
_MOST_UNEXPECTED = 5


@dataclass(frozen=True)
class Dependencies:
    """Today's values of what failures can depend on.

    Attributes:
        values: Name -> fingerprint.
        spare_bytes: Free bytes on the disk of the media store, beyond MinFreeMB.
    """

    values: Mapping[str, str]
    spare_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> "Dependencies":
        """Collect today's values."""
        values = {name: _fingerprint(_setting(settings, name)) for name in _SETTINGS}
        values |= {f"module:{name}": _fingerprint(importlib.util.find_spec(name) is not None) for name in _MODULES}
        values |= {f"program:{name}": _fingerprint(_found(name)) for name in _PROGRAMS}
        values |= {f"variable:{name}": _fingerprint(redacted_url(os.environ.get(name, ""))) for name in _VARIABLES}
        values |= {f"variable:{name}": _fingerprint(name in os.environ) for name in _SECRET_VARIABLES}
        return cls(values, _free_bytes(settings) - (settings.download.min_free_mb << 20))

    def named(self, names: tuple[str, ...]) -> tuple[Dependency, ...]:
        """Return the known ones of `names`."""
        return tuple(Dependency(name=name, value=self.values[name]) for name in names if name in self.values)

    def changed_for(self, record: SourceRecord) -> bool:
        """Return whether something that the failure of a source depended on is different now."""
        if record.needed_bytes is not None and record.needed_bytes <= self.spare_bytes:
            return True
        return any(self.values.get(one.name, one.value) != one.value for one in record.blocked_by)


def failed_record(before: SourceRecord, error: VidpipeError, url: SourceUrl, settings: Settings) -> SourceRecord:
    """Return the record of a source after a failed attempt; an earlier video stays the source's video.

    Args:
        before: The record before the attempt.
        error: What went wrong.
        url: The real URL, whose secrets are removed from the message.
        settings: Those in force.
    """
    refused = isinstance(error, MediaError) or (isinstance(error, FetchError) and error.kind == "refused")
    # a problem of neither the file nor the server (no ffmpeg, say) may be fixed meanwhile
    transient = error.transient if isinstance(error, FetchError) else not refused
    gone = isinstance(error, FetchError) and error.gone
    state = "gone" if gone else "refused" if refused else "failed"
    failures = before.failures + 1
    now = datetime.now(UTC)
    next_try_at = None
    if transient:
        wait_s = min(_FIRST_RETRY_S * 2.0 ** min(failures - 1, 20), _LONGEST_RETRY_S)
        retry_after_s = error.retry_after_s if isinstance(error, FetchError) else None
        next_try_at = now + timedelta(seconds=max(wait_s, min(retry_after_s or 0.0, _LONGEST_RETRY_AFTER_S)))
    return before.model_copy(
        update={
            "state": "stored" if gone and before.video else state,
            "gone_since": (before.gone_since or now) if gone else before.gone_since,
            "failures": failures,
            "last_error": scrub(str(error.about(readable_url(before.url))), url.reveal()),
            "last_error_kind": "transient" if transient else "permanent",
            "next_try_at": next_try_at,
            "failed_at": now,
            "blocked_by": Dependencies.of(settings).named(error.depends_on) if error.depends_on else (),
            "needed_bytes": error.needed_bytes if isinstance(error, DiskFullError) else None,
        }
    )


def unexpected_error(url: SourceUrl, failures: int, error: Exception) -> FetchError:
    """Return the FetchError for an unexpected error, and log its traceback.

    The same file usually gives the same error, so it is not retried forever.

    Args:
        url: Of the source.
        failures: Failed runs before this one.
        error: The unexpected error.
    """
    trace = scrub("".join(traceback.format_exception(error)), url.reveal())
    log.error("Unexpected error while adding %s:\n%s", url, trace)
    reason = scrub(f"{type(error).__name__}: {error}", url.reveal())
    kind: FaultKind = "transient" if failures + 1 < _MOST_UNEXPECTED else "permanent"
    message = f"{readable_url(url.display_url)}: unexpected error ({reason})."
    return FetchError(message, "Please report this bug.", kind=kind)


def _setting(settings: Settings, name: str) -> Any:
    section, _, key = name.partition(".")
    value = getattr(getattr(settings, section), key)
    return sorted(value) if isinstance(value, tuple) else value


def _found(program: str) -> bool:
    try:
        return bool(_PROGRAMS[program]())
    except VidpipeError:
        return False


def _free_bytes(settings: Settings) -> int:
    try:
        return free_bytes(settings.media_directory)
    except OSError:
        return 0


def _fingerprint(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:16]
