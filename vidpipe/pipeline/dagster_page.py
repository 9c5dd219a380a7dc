"""Serves Dagster's page behind our guard: `python -m vidpipe.pipeline.dagster_page -h HOST -p PORT -w FILE`.

If Dagster no longer has what this needs, the page does not start: it never runs unguarded.
"""

import argparse
import gc
import logging
import sys
from pathlib import Path

import dagster as dg

from vidpipe.errors import VidpipeError
from vidpipe.operations.http_guard import serve
from vidpipe.pipeline.dagster_internals import dagster_page
from vidpipe.settings import load

#: The defaults of `dagster-webserver`.
_STATEMENT_LIMIT_MS, _POOL_RECYCLE_S, _POOL_MAX_OVERFLOW = 15_000, 3600, 20


def main() -> None:
    """Serve the page until SIGTERM."""
    parser = argparse.ArgumentParser(prog="dagster_page", add_help=False)
    parser.add_argument("-h", "--host", default="127.0.0.1")
    parser.add_argument("-p", "--port", type=int, default=3000)
    parser.add_argument("-w", "--workspace", type=Path, required=True)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        allowed = load().settings.services.allowed_hosts
        with dg.DagsterInstance.get() as instance:
            instance.optimize_for_webserver(_STATEMENT_LIMIT_MS, _POOL_RECYCLE_S, _POOL_MAX_OVERFLOW)
            with dagster_page(instance, given.workspace) as app:
                gc.freeze()  # spares the collector Dagster's half a million permanent objects
                serve(app, given.host, given.port, allowed, "WebPort")
    except VidpipeError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
