"""Sections of config.ini about datasets and duplicates."""

from pydantic import SecretStr

from vidpipe.settings.operation import CronSchedule, Section


class Mirror(Section):
    """The copy of the library in an SQL database, which `vidpipe mirror` keeps up to date.

    A URL with a password is a secret: set VIDPIPE_MIRROR_URL, or write it to config.local.ini, never to this file.
    """

    url: SecretStr = SecretStr("")
    """A postgresql://, mysql:// or sqlite:/// address; empty: none."""
    schedule: CronSchedule = ""
    """Cron schedule (*/15 * * * *) for updating the mirror; empty: only `vidpipe mirror` does."""


class NearDuplicates(Section):
    """Copies of the same video in other files, which `vidpipe duplicates` lists."""

    describe_once: bool = False
    """Let the describing model look at one of several copies only, and share what it says of the whole video with the
    others, marked as shared. Needs fingerprint in Enabled of [Analyses]; backend statistics always describes each."""
