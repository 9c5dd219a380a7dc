"""The page of measures: `python -m vidpipe.measures.server --home HOME --host 127.0.0.1 --port 9464`.

`vidpipe up` starts it. GET /metrics gives the figures in Prometheus' text format, GET / a page that says so. It only
reads, starts nothing (no MongoDB either), and answers within seconds whatever is away.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from vidpipe.errors import VidpipeError
from vidpipe.measures.exposition import exposition
from vidpipe.measures.readings import Home
from vidpipe.operations.http_guard import serve
from vidpipe.settings import configure_logging, load

_INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>vidpipe</title>
<h1>vidpipe: measures</h1>
<p><a href="/metrics">/metrics</a>: figures of the library and its runs, for Prometheus.</p>
</html>
"""
_FRESH = {"Cache-Control": "no-store"}


def measures_app(figures: Home) -> Starlette:
    """The page, as an ASGI app. Its endpoints run in threads: one that waits for MongoDB holds up no other."""

    def metrics(request: Request) -> Response:
        page, content_type = exposition(figures.readings(), request.headers.get("Accept", ""))
        return Response(page, headers={"Content-Type": content_type, **_FRESH})

    def index(request: Request) -> Response:
        return HTMLResponse(_INDEX, headers=_FRESH)

    def nothing(request: Request) -> Response:
        return PlainTextResponse("There is / and /metrics.\n", 404, _FRESH)

    return Starlette(routes=[Route("/metrics", metrics), Route("/", index), Route("/{path:path}", nothing)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="vidpipe.measures.server", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, required=True, help="the folder of config.ini")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9464)
    given = parser.parse_args(arguments)
    try:
        from vidpipe.stages.registry import GRAPH

        settings = load(given.home).settings
        configure_logging(settings)
        with contextlib.closing(Home(lambda: load(given.home).settings, GRAPH)) as figures:
            serve(measures_app(figures), given.host, given.port, settings.services.allowed_hosts, "MetricsPort")
    except VidpipeError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
