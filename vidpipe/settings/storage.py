"""The sections of config.ini about where media are stored, how long, and how they are removed.

None of them changes a result.
"""

import re

from pydantic import Field, field_validator, model_validator

from vidpipe.redaction import redact_by_form
from vidpipe.settings.operation import Listed, Section

_STORE = re.compile(r"local|gridfs|(?:s3|gs|az)://[^/\s@?#]+(?:/[^\s@?#]*)?|dropbox://[^\s@?#]*")
_RULE = re.compile(r"(?:(label|source):(.+)=)?(\d+(?:\.\d+)?)")


def check_store(value: str) -> str:
    """Return the URL of a store without its last slash. Raises ValueError if there is no such kind of store."""
    if not _STORE.fullmatch(value):
        raise ValueError(
            "a store is local, gridfs, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or dropbox://folder"
        )
    if redact_by_form(value) != value:
        raise ValueError(
            "the URL of a store must not contain a password or token; credentials come from the environment"
        )
    return value.rstrip("/") if not value.endswith("://") else value


class Storage(Section):
    """Where videos, frame packs and thumbnails are stored. Everything else is in MongoDB.

    With a remote store, [Paths] DownloadDirectory and ProcessedDirectory hold a cache of it. A change affects new
    videos; `vidpipe store move` moves the others.
    """

    media: str = "local"
    """local: the folders of [Paths]; gridfs: the library's MongoDB; s3://bucket/prefix, gs://bucket/prefix,
    az://container/prefix or dropbox://folder, with the credentials of the provider's own tools."""
    cache_mb: int = Field(50_000, ge=100)
    """Largest size of the local cache of a remote store, in megabytes; the least recently used files are deleted first,
    and none that a run uses."""
    keep_originals: bool = True
    """no: delete a video's file once all stages have processed it. Its results stay; a stage that needs the file again
    waits for `vidpipe run --refetch` or RefetchMB."""
    refetch_mb: int = Field(0, ge=0)
    """Megabytes of deleted originals that may be downloaded again without asking, in 24 hours; 0: none."""
    cold_media: str = ""
    """Store for the files of videos that were processed ColdAfterDays ago, such as a bucket of a cheaper class; empty:
    they stay."""
    cold_after_days: float = Field(90.0, ge=0)
    """Days after which a processed video's file moves to ColdMedia."""

    @field_validator("media", "cold_media")
    @classmethod
    def _check_store(cls, value: str) -> str:
        return check_store(value) if value else value

    @model_validator(mode="after")
    def _check_cold(self) -> "Storage":
        if not self.media or self.media == self.cold_media:
            raise ValueError("Media must name a store, and another one than ColdMedia")
        return self


class Privacy(Section):
    """Protection of the people in videos, and how long videos are kept."""

    blur_faces: bool = False
    """Blur faces in thumbnails and in the frames that models see, before they are stored. Original files are never
    changed. A change makes every video due in scenes."""
    keep_days: Listed = ()
    """Days after which videos are forgotten, comma-separated: 365 for all, label:NAME=30 for those with a label,
    source:LIST-OR-URL-PREFIX=90 for those of a source. The shortest that applies counts; empty: videos are kept."""
    grace_days: float = Field(7.0, ge=0, le=3650)
    """Days in which `vidpipe forget --undo` restores a forgotten video from a sealed copy; 0: no copy is kept."""

    @field_validator("keep_days")
    @classmethod
    def _check_rules(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for rule in value:
            if not _RULE.fullmatch(rule):
                raise ValueError(f"{rule!r} is not a number of days, label:NAME=DAYS or source:NAME=DAYS")
        return value

    @property
    def keep_rules(self) -> tuple[tuple[str, str, float], ...]:
        """(kind, name, days) of each rule in KeepDays; kind is empty, label or source."""
        found = (_RULE.fullmatch(rule) for rule in self.keep_days)
        return tuple((rule[1] or "", rule[2] or "", float(rule[3])) for rule in found if rule)
