"""vidpipe up: starts the servers of this home."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from vidpipe.cli.call import call_of
from vidpipe.cli.options import Json
from vidpipe.cli.output import note, out, print_json, size, table, words

if TYPE_CHECKING:
    from vidpipe.operations.services.lifecycle import UpReport


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
    """Start MongoDB, Dagster's page and daemon, the page of measures and a supervisor, and wait until they answer.

    Until `vidpipe down`, the watched lists are read, due stages are computed and changed rules are applied. The
    supervisor restarts servers that die. Servers that already run are kept; after a crash the same command finds them.
    """
    from vidpipe.operations.services.lifecycle import become_supervisor
    from vidpipe.operations.services.lifecycle import up as bring_up

    settings = call_of(context).load().settings
    report = bring_up(settings, note, foreground=foreground)
    if as_json:
        print_json({**asdict(report), "addresses": report.addresses})
    else:
        _show(report)
    if foreground:
        become_supervisor(settings)


def _show(report: UpReport) -> None:
    from vidpipe.operations.services.service_definitions import TITLES

    console = out()
    made = table("server", "address", ("process", {"justify": "right"}), ("memory", {"justify": "right"}))
    for service in report.services:
        made.add_row(
            words(TITLES[service.name]), words(service.address, "bold"), words(service.pid),
            words(size(service.memory_bytes)),
        )  # fmt: skip
    console.print(made)
    for sentence in report.notes:
        note(sentence, "yellow")
    web = report.addresses.get("web", "")
    note(f"{'All are up' if report.started else 'All were up already'}. Open {web}; write URLs into data/urls.txt; "
         "`vidpipe status --watch` follows what happens, `vidpipe down` stops it all.")  # fmt: skip
