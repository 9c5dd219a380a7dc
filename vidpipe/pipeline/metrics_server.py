"""The metrics server: `python -m vidpipe.pipeline.metrics_server --home HOME --host 127.0.0.1 --port 9464`.

`vidpipe up` starts it. GET /metrics returns the metrics in Prometheus' text format, GET / a page that links to it. The
server only reads, starts nothing (not even MongoDB), and responds within seconds even if a service is down.
"""

import argparse
import contextlib
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from vidpipe.errors import VidpipeError
from vidpipe.operations.http_guard import serve
from vidpipe.operations.metrics.exposition import metrics_app
from vidpipe.operations.metrics.snapshot import HomeMetrics
from vidpipe.pipeline.instance import instance
from vidpipe.pipeline.run_queue import queue_figures
from vidpipe.settings import configure_logging, load
from vidpipe.stages.registry import build_graph


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the metrics until the process is terminated. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="vidpipe.pipeline.metrics_server", description="Serves vidpipe's metrics.")
    parser.add_argument("--home", type=Path, required=True, help="the folder of config.ini")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9464)
    options = parser.parse_args(arguments)
    try:
        settings = load(options.home).settings
        configure_logging(settings)
        with contextlib.ExitStack() as opened:
            # Opened by the first request, so that a damaged history does not stop the server.
            dagster = functools.cache(lambda: opened.enter_context(instance(settings)))
            home = HomeMetrics(
                lambda: load(options.home).settings, build_graph(settings), lambda: queue_figures(dagster())
            )
            opened.callback(home.close)
            serve(metrics_app(home), options.host, options.port, settings.services.allowed_hosts, "MetricsPort")
    except VidpipeError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
