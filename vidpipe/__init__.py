"""From a list of video URLs to a library that can be searched, explained and exported."""

__version__ = "0.2.0"
