"""vidpipe down: stops the servers of this home."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from vidpipe.cli.call import call_of
from vidpipe.cli.options import Json
from vidpipe.cli.output import note, out, print_json, words
from vidpipe.errors import VidpipeError


def down(
    context: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Also while other processes use MongoDB.")] = False,
    as_json: Json = False,
) -> None:
    """Stop the servers of this home in good order: runs store what is finished, MongoDB ends last.

    `vidpipe up` starts them again; other commands start MongoDB alone.
    """
    from vidpipe.library import embedded
    from vidpipe.operations.services.lifecycle import down as bring_down
    from vidpipe.operations.services.service_definitions import TITLES

    settings = call_of(context).load().settings
    stopped = bring_down(settings, note, keep_database=True)
    if embedded.is_embedded(settings):
        running = embedded.status(settings)
        if running.running and running.port is not None and not force:
            users = users_of(running.port)
            if users:
                raise VidpipeError(
                    f"The embedded MongoDB server is in use by {', '.join(users)}.",
                    "End what uses it (Ctrl-C leaves nothing broken), or stop it all the same with "
                    "`vidpipe down --force`.",
                )
        if embedded.stop(settings):
            stopped.append("mongod")
    said = f"Stopped: {', '.join(TITLES.get(name, name) for name in stopped)}." if stopped else "Nothing was running."
    if not embedded.is_embedded(settings):
        said += " [MongoDB] URI names a server of your own, which is left alone."
    if as_json:
        print_json({"stopped": stopped, "message": said})
    else:
        out().print(words(said), soft_wrap=True)


def users_of(port: int) -> list[str]:
    """Other processes with a connection to the server, as far as the system tells."""
    import psutil

    try:
        connections = psutil.net_connections("tcp4")
    except (psutil.Error, OSError, NotImplementedError):
        return []
    pids = {
        connection.pid
        for connection in connections
        if connection.raddr
        and connection.raddr.port == port
        and connection.status == psutil.CONN_ESTABLISHED
        and connection.pid not in (None, os.getpid())
    }
    return [_named(pid) for pid in sorted(pid for pid in pids if pid is not None)]


def _named(pid: int) -> str:
    import psutil

    try:
        return f"process {pid} ({' '.join(psutil.Process(pid).cmdline()[:4])[:80]})"
    except psutil.Error:
        return f"process {pid}"
