"""The embedded MongoDB server: a real mongod in the home, started on demand and shared by all its vidpipe processes."""

from vidpipe.library.embedded.server import (
    MIN_FREE_BYTES,
    EmbeddedServer,
    FullDiskError,
    files_of,
    find,
    full_disk,
    is_embedded,
    start,
    status,
    stop,
)

__all__ = [
    "MIN_FREE_BYTES", "EmbeddedServer", "FullDiskError", "files_of", "find", "full_disk", "is_embedded", "start",
    "status", "stop",
]  # fmt: skip
