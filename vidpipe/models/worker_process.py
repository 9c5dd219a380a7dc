"""The process of a `WorkerModel`: `python -m vidpipe.models.worker_process DESCRIPTOR MODULE:FUNCTION`."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

_MOST = 500
_POLL_S = 1.0


def main() -> None:
    """Load the model, say so, and answer requests until the other side closes the connection."""
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    try:
        arguments = connection.recv()
        os.environ["OMP_NUM_THREADS"] = str(arguments["threads"])  # read when a library is loaded
        os.environ["HF_HUB_OFFLINE"] = "1"  # models are installed; nothing is fetched while one runs
        module, _, function = sys.argv[2].partition(":")
        loaded: list[Callable[[Any], Any]] = []

        def load(_: object) -> str:
            loaded.append(getattr(import_module(module), function)(**arguments))
            return "loaded"

        connection.send_bytes(_reply(load, None))
        while loaded:
            connection.send_bytes(_reply(loaded[0], connection.recv()))
    except (EOFError, OSError):
        return


def _reply(answer: Callable[[Any], Any], request: Any) -> bytes:
    try:
        return json.dumps({"value": answer(request)}, allow_nan=False).encode()
    except Exception as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}"[:_MOST]}).encode()


def _end_with(parent: int) -> None:
    """End this process with its parent, even in the middle of a request: a killed parent cannot say so."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(1)


if __name__ == "__main__":
    main()
