"""What a failure depends on besides its source: settings, modules, programs, variables, free disk space.

A source that failed because of one of these is due again as soon as that one differs from what it was.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vidpipe.errors import VidpipeError
from vidpipe.ingest.records import Dependency, SourceRecord
from vidpipe.ingest.urls import redacted_url
from vidpipe.media.ffmpeg import ffmpeg_path, ffprobe_path
from vidpipe.safe_files import free_bytes
from vidpipe.settings import Settings

#: As errors name them in `depends_on`. None of these settings is a secret.
_SETTINGS = (
    "download.allowed_private", "download.max_size_mb", "download.max_redirects", "download.use_proxy",
    "download.min_free_mb", "paths.download_directory", "limits.memory_mb", "limits.max_pixels",
    "limits.header_seconds",
)  # fmt: skip
_MODULES = ("boto3",)
_PROGRAMS = {"ffmpeg": ffmpeg_path, "ffprobe": ffprobe_path}
#: Whether they are set, and to what.
_VARIABLES = (
    "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
#: Whether they are set: nothing that is derived from a secret is stored.
_SECRET_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@dataclass(frozen=True)
class Dependencies:
    """Today's.

    values:      name -> fingerprint
    spare_bytes: free on the disk of the media store, beyond MinFreeMB
    """

    values: Mapping[str, str]
    spare_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Dependencies:
        values = {name: _fingerprint(_setting(settings, name)) for name in _SETTINGS}
        values |= {f"module:{name}": _fingerprint(importlib.util.find_spec(name) is not None) for name in _MODULES}
        values |= {f"program:{name}": _fingerprint(_found(name)) for name in _PROGRAMS}
        values |= {f"variable:{name}": _fingerprint(redacted_url(os.environ.get(name, ""))) for name in _VARIABLES}
        values |= {f"variable:{name}": _fingerprint(name in os.environ) for name in _SECRET_VARIABLES}
        return cls(values, _free_bytes(settings) - (settings.download.min_free_mb << 20))

    def named(self, names: tuple[str, ...]) -> tuple[Dependency, ...]:
        return tuple(Dependency(name=name, value=self.values[name]) for name in names if name in self.values)

    def changed_for(self, record: SourceRecord) -> bool:
        """Whether something that the failure of a source depended on is different now."""
        if record.needed_bytes is not None and record.needed_bytes <= self.spare_bytes:
            return True
        return any(self.values.get(one.name, one.value) != one.value for one in record.blocked_by)


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
