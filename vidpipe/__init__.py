"""vidpipe: from a list of URLs to a library of videos that can be searched, explained and exported."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("vidpipe")
except PackageNotFoundError:  # run from a tree that was never installed
    __version__ = "0.0.0"
