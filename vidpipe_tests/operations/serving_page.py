"""A page served in a thread of this process, as a home's servers serve theirs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp

from vidpipe.operations.http_guard import ConnectionLimits, listen, page_server


@contextmanager
def serving(app: ASGIApp, limits: ConnectionLimits = ConnectionLimits()) -> Iterator[int]:  # noqa: B008 - immutable
    """The port on the loopback where `app` answers."""
    (listener,) = listen("127.0.0.1", 0, "WebPort")
    server = page_server(app, ["127.0.0.1"], limits)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
