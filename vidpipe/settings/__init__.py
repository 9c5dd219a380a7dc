"""config.ini, config.local.ini and environment variables as one typed `Settings`."""

from vidpipe.settings.home import default_file, find_home, free_by_disk, init_home
from vidpipe.settings.load import LoadedSettings, load
from vidpipe.settings.logs import audit, configure_logging, notice, notices_shown
from vidpipe.settings.schema import Settings

__all__ = [
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
]
