"""Puts or gets one object in a process of its own, which may kill itself in the middle.

python -m vidpipe_tests.storage.transfer_process put|get HOME URL KEY FILE SHA256 PART_BYTES KILL_AT
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from vidpipe.library.connection import connect
from vidpipe.library.gridfs_store import GRIDFS, GridFSStore
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe.storage.object_store import Progress
from vidpipe.storage.stores import Stores
from vidpipe.storage.verified_store import VerifiedStore

URI_VARIABLE = "TRANSFER_MONGODB_URI"


@contextlib.contextmanager
def opened_store(settings: Settings, url: str, part_bytes: int) -> Iterator[VerifiedStore]:
    """Open a store with small parts."""
    with contextlib.ExitStack() as stack:
        others = {}
        if url == GRIDFS:
            connection = stack.enter_context(connect(settings))
            others[GRIDFS] = lambda: GridFSStore(connection)
        store = Stores(settings, others).of(url)
        store.part_bytes = part_bytes  # type: ignore[attr-defined]
        yield store  # type: ignore[misc]


def main() -> None:
    action, home, url, key, file, sha256, part_bytes, kill_at = sys.argv[1:]
    uri, _, name = os.environ.get(URI_VARIABLE, "").partition(" ")
    settings = Settings(home=Path(home), mongodb=MongoDB(uri=SecretStr(uri), database_name=name or "vidpipe"))

    def on_bytes(done: int, total: int) -> None:
        print(done, flush=True)
        if 0 < int(kill_at) <= done:
            os.kill(os.getpid(), signal.SIGKILL)

    with opened_store(settings, url, int(part_bytes)) as store:
        if action == "put":
            store.put(key, Path(file), sha256, Progress(on_bytes))
        else:
            assert store.get(key, Path(file), Progress(on_bytes)) == sha256


if __name__ == "__main__":
    main()
