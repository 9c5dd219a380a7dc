"""config.ini and the environment become one typed `Settings`."""

from vidpipe.settings.schema import Settings

__all__ = ["Settings"]
