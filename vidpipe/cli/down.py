"""vidpipe down: stops the embedded server."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from vidpipe.cli.call import call_of
from vidpipe.cli.options import Json
from vidpipe.cli.output import out, print_json, words
from vidpipe.errors import VidpipeError


def down(
    context: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Also while other processes use it.")] = False,
    as_json: Json = False,
) -> None:
    """Stop the embedded MongoDB server of this home, and wait for its end. The next command starts it again."""
    from vidpipe.library import embedded

    settings = call_of(context).load().settings
    if not embedded.is_embedded(settings):
        _say("[MongoDB] URI names a server of your own; there is nothing to stop.", as_json=as_json, stopped=False)
        return
    running = embedded.status(settings)
    if running.running and running.port is not None and not force:
        users = _users(running.port)
        if users:
            raise VidpipeError(
                f"The embedded MongoDB server is in use by {', '.join(users)}.",
                "End what uses it (Ctrl-C leaves nothing broken), or stop it all the same with `vidpipe down --force`.",
            )
    stopped = embedded.stop(settings)
    said = "The embedded MongoDB server has ended." if stopped else "The embedded MongoDB server was not running."
    _say(said, as_json=as_json, stopped=stopped)


def _say(sentence: str, *, as_json: bool, stopped: bool) -> None:
    if as_json:
        print_json({"stopped": stopped, "message": sentence})
    else:
        out().print(words(sentence), soft_wrap=True)


def _users(port: int) -> list[str]:
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
