"""The process of a `WorkerModel`: `python -m vidpipe.models.worker_process DESCRIPTOR MODULE:FUNCTION`."""

import json
import os
import sys
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

_MOST = 500


def main() -> None:
    """Answer requests until the other side closes the connection."""
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    arguments = connection.recv()
    os.environ["OMP_NUM_THREADS"] = str(arguments["threads"])  # read when a library is loaded
    module, _, function = sys.argv[2].partition(":")
    answer = None
    failed = ""
    try:
        answer = getattr(import_module(module), function)(**arguments)
    except Exception as error:
        failed = f"The model cannot be loaded: {type(error).__name__}: {error}"[:_MOST]
    while True:
        try:
            request = connection.recv()
        except (EOFError, OSError):
            return
        reply: dict[str, Any]
        try:
            reply = {"value": answer(request)} if answer is not None else {"unavailable": failed}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:_MOST]}
        connection.send_bytes(json.dumps(reply, allow_nan=False).encode())


if __name__ == "__main__":
    main()
