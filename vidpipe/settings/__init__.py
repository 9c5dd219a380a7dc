"""config.ini, config.local.ini and environment variables as one typed `Settings`."""

from vidpipe.settings.home import InitReport, default_file, find_home, free_by_disk, init_home
from vidpipe.settings.load import Entry, LoadedSettings, load, secret_values
from vidpipe.settings.logs import audit, configure_logging, notice, notices_shown
from vidpipe.settings.schema import Settings

__all__ = [
    "Entry",
    "InitReport",
    "LoadedSettings",
    "Settings",
    "audit",
    "configure_logging",
    "default_file",
    "find_home",
    "free_by_disk",
    "init_home",
    "load",
    "notice",
    "notices_shown",
    "secret_values",
]
