"""A model of the tests of `WorkerModel`: the request says what it does."""

import ctypes
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any


def load(**given: Any) -> Callable[[Any], Any]:
    """Return the model, unless `fails` says that it cannot be loaded."""
    if given.get("fails") == "raises":
        raise ImportError("No module named 'onnxruntime'")
    if given.get("fails") == "crashes":
        os.abort()
    does: dict[str, Callable[[], Any]] = {
        "abort": os.abort,
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "segfault": lambda: ctypes.string_at(0),
        "exit": lambda: sys.exit(3),
        "raise": lambda: int("no number"),
        "nan": lambda: float("nan"),
        "not json": object,
        "sleep": lambda: time.sleep(600),
        "environment": lambda: dict(os.environ),
        "process": lambda: [os.getpid(), os.getsid(0)],
        "given": lambda: {**given, "folders": {name: str(path) for name, path in given["folders"].items()}},
    }

    def answer(request: Any) -> Any:
        if isinstance(request, dict) and "jpegs" in request:
            return [hashlib.sha256(jpeg).hexdigest() for jpeg in request["jpegs"]]
        if isinstance(request, dict):
            return "x" * request["times"]
        return does[request]() if request in does else request

    return answer
