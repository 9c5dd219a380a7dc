"""config.ini and the environment become one typed `Settings`."""

from vidpipe.settings.disks import free_by_disk, free_bytes
from vidpipe.settings.home import InitReport, find_home, init_home
from vidpipe.settings.load import Entry, LoadedSettings, load, secret_values
from vidpipe.settings.logs import audit, configure_logging, notice, notices_shown
from vidpipe.settings.schema import Settings

__all__ = [
    "Entry", "InitReport", "LoadedSettings", "Settings", "audit", "configure_logging", "find_home", "free_by_disk",
    "free_bytes", "init_home", "load", "notice", "notices_shown", "secret_values",
]  # fmt: skip
