"""Dagster's page behind our guard, as `python -m vidpipe.pipeline.program dagster_webserver -h HOST -p PORT -w FILE`.

dagster-webserver's own command cannot wrap its app, so this module starts the app as that command does. It imports
private names of Dagster; if one is missing, the page does not start: it never runs unguarded.
"""

from __future__ import annotations

import argparse
import logging
import sys

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context

from vidpipe.errors import VidpipeError
from vidpipe.pipeline.pages.serving import serve
from vidpipe.settings import load

#: As dagster-webserver's defaults.
_STATEMENT_LIMIT_MS, _POOL_RECYCLE_S, _POOL_MAX_OVERFLOW = 15_000, 3600, 20
_POLL_MS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(prog="dagster_webserver", add_help=False)
    parser.add_argument("-h", "--host", default="127.0.0.1")
    parser.add_argument("-p", "--port", type=int, default=3000)
    parser.add_argument("-w", "--workspace", required=True)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        allowed = load().settings.services.allowed_hosts
        with dg.DagsterInstance.get() as instance:
            instance.optimize_for_webserver(_STATEMENT_LIMIT_MS, _POOL_RECYCLE_S, _POOL_MAX_OVERFLOW)
            with WorkspaceProcessContext(instance, WorkspaceFileTarget([given.workspace]), dg.__version__) as context:
                app = create_app_from_workspace_process_context(context, live_data_poll_rate=_POLL_MS)
                serve(app, given.host, given.port, allowed, "WebPort")
    except VidpipeError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(error.exit_code)
