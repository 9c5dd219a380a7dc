"""vidpipe up and vidpipe down: start and stop the servers of a home."""

import os
from dataclasses import asdict
from typing import Annotated

import psutil
import typer

from vidpipe.cli.context import command_context
from vidpipe.cli.options import Json
from vidpipe.cli.output import note, out, print_json, size, table, words
from vidpipe.errors import VidpipeError
from vidpipe.library import embedded
from vidpipe.operations.services.lifecycle import UpReport, become_supervisor
from vidpipe.operations.services.lifecycle import down as bring_down
from vidpipe.operations.services.lifecycle import up as bring_up
from vidpipe.operations.services.service_definitions import TITLES


def up(
    context: typer.Context,
    foreground: Annotated[
        bool,
        typer.Option(
            "--foreground",
            help="Run the supervisor here; Ctrl-C or SIGTERM stops all servers. For systemd and containers.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Start this home's servers and wait until they respond.

    Starts MongoDB, the library page, Dagster's web server and daemon, the metrics server, and a supervisor that
    restarts servers that die. Until `vidpipe down`, watched lists are read, due stages computed and changed rules
    applied. Servers that are already running are kept.
    """
    settings = command_context(context).load().settings
    report = bring_up(settings, note, foreground=foreground)
    if as_json:
        print_json({**asdict(report), "addresses": report.addresses})
    else:
        _show_services(report)
    if foreground:
        become_supervisor(settings)


def _show_services(report: UpReport) -> None:
    console = out()
    made = table("server", "address", "process", "memory", right=("process", "memory"))
    for service in report.services:
        made.add_row(
            words(TITLES[service.name]), words(service.address, "bold"), words(service.pid),
            words(size(service.memory_bytes)),
        )  # fmt: skip
    console.print(made)
    for sentence in report.notes:
        note(sentence, "yellow")
    page = report.addresses.get("library", "")
    note(
        f"All servers are {'up' if report.started else 'already up'}. Open {page}; add URLs there or to data/urls.txt. "
        "`vidpipe status --watch` shows progress; `vidpipe down` stops the servers."
    )


def down(
    context: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Stop MongoDB even if other processes are using it.")] = False,
    as_json: Json = False,
) -> None:
    """Stop this home's servers cleanly.

    Runs store finished results first; MongoDB stops last. `vidpipe up` starts the servers again; other commands start
    MongoDB alone.
    """
    settings = command_context(context).load().settings
    stopped = bring_down(settings, note, keep_database=True)
    if embedded.is_embedded(settings):
        running = embedded.status(settings)
        if running.running and running.port is not None and not force:
            users = users_of(running.port)
            if users:
                raise VidpipeError(
                    f"The embedded MongoDB server is in use by {', '.join(users)}.",
                    "Stop those processes (Ctrl-C is safe), or use `vidpipe down --force`.",
                )
        if embedded.stop(settings):
            stopped.append("mongod")
    said = f"Stopped: {', '.join(TITLES.get(name, name) for name in stopped)}." if stopped else "Nothing was running."
    if not embedded.is_embedded(settings):
        said += " The MongoDB server in [MongoDB] URI is not managed by vidpipe and keeps running."
    said += " Runs on other machines go on." * (settings.cluster.launcher != "process")
    if as_json:
        print_json({"stopped": stopped, "message": said})
    else:
        out().print(words(said), soft_wrap=True)


def users_of(port: int) -> list[str]:
    """Return descriptions of other processes connected to the server, as far as the system reports them."""
    try:
        connections = psutil.net_connections("tcp4")
    except (psutil.Error, OSError, NotImplementedError):
        return []
    pids = {
        connection.pid
        for connection in connections
        if connection.raddr == ("127.0.0.1", port)
        and connection.status == psutil.CONN_ESTABLISHED
        and connection.pid not in (None, os.getpid())
    }
    return [_named(pid) for pid in sorted(pid for pid in pids if pid is not None)]


def _named(pid: int) -> str:
    try:
        return f"process {pid} ({' '.join(psutil.Process(pid).cmdline()[:4])[:80]})"
    except psutil.Error:
        return f"process {pid}"
