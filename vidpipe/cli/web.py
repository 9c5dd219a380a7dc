"""vidpipe web and vidpipe open: serve the library page, and open it in a browser."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from vidpipe.cli.context import command_context


def web(
    context: typer.Context,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. Default: [Services] Host.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Port. Default: [Services] LibraryPort.")
    ] = None,
) -> None:
    """Serve the library page and its API until Ctrl-C.

    `vidpipe up` serves it, too. On any address but loopback it requires keys; see `vidpipe keys`.
    """
    loaded = command_context(context).load()
    services = loaded.settings.services
    arguments = ["--home", str(loaded.settings.home), "--config", str(loaded.config)]
    arguments += ["--host", host or services.host, "--port", str(port or services.library_port)]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "vidpipe.web.server", *arguments])  # noqa: S606
