"""The page of measures: `python -m vidpipe.measures.server --home HOME --host 127.0.0.1 --port 9464`.

`vidpipe up` starts it. GET /metrics gives the figures in Prometheus' text format, GET / a page that says so. It only
reads, starts nothing (no MongoDB either), and answers within seconds whatever is away.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from pathlib import Path

from vidpipe import __version__
from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.measures.exposition import exposition
from vidpipe.measures.readings import Home
from vidpipe.settings import configure_logging, load

log = logging.getLogger(__name__)

_INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>vidpipe</title>
<h1>vidpipe: measures</h1>
<p><a href="/metrics">/metrics</a>: figures of the library and its runs, for Prometheus.</p>
</html>
"""
#: A client that takes longer to send its request, or to take the answer, is left.
_CLIENT_LIMIT_S = 20
#: Requests answered at once; more wait for their turn in the socket's queue.
_MOST_AT_ONCE = 8


class MeasuresServer(http.server.ThreadingHTTPServer):
    """Serves the figures of one home. Raises UnavailableError where it cannot listen."""

    daemon_threads = True

    def __init__(self, home: Home, host: str, port: int) -> None:
        self.figures = home
        self._room = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise UnavailableError(
                f"The page of measures cannot listen on {host}, port {port}: {error.strerror}.",
                "Choose another [Services] MetricsPort, or end what has it.",
            ) from error

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        self._room.acquire()
        super().process_request(request, client_address)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("a client of the page of measures went away", exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: MeasuresServer
    server_version = f"vidpipe/{__version__}"
    sys_version = ""
    timeout = _CLIENT_LIMIT_S

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            page, content_type = exposition(self.server.figures.readings(), self.headers.get("Accept", ""))
            self._send(HTTPStatus.OK, page, content_type)
        elif path == "/":
            self._send(HTTPStatus.OK, _INDEX.encode(), "text/html; charset=utf-8")
        else:
            self._send(HTTPStatus.NOT_FOUND, b"There is / and /metrics.\n", "text/plain; charset=utf-8")

    do_HEAD = do_GET

    def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


@contextlib.contextmanager
def serving(home: Path, host: str, port: int) -> Iterator[MeasuresServer]:
    """The server of `home`, not yet at work. Raises SettingsError, UnavailableError."""
    from vidpipe.stages.registry import GRAPH

    figures = Home(lambda: load(home).settings, GRAPH)
    try:
        with MeasuresServer(figures, host, port) as server:
            yield server
    finally:
        figures.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="vidpipe.measures.server", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, required=True, help="the folder of config.ini")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9464)
    given = parser.parse_args(arguments)
    try:
        configure_logging(load(given.home).settings)
        with serving(given.home, given.host, given.port) as server:
            for number in (signal.SIGTERM, signal.SIGINT):
                # From another thread: shutdown waits for the loop that the signal interrupts.
                signal.signal(number, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
            log.info("the page of measures listens on %s, port %d", *server.server_address[:2])
            server.serve_forever()
    except VidpipeError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
