"""A library with everything, a folder for its backups, and another home to restore them into."""

from vidpipe_tests.library.conftest import backups, library, target

__all__ = ["backups", "library", "target"]
