"""vidpipe migrate: migrate a library to this version's schema."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from vidpipe.cli.context import command_context
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, note, out, print_json, words
from vidpipe.library.connection import connect
from vidpipe.library.schema import COLLECTIONS
from vidpipe.library.schema_setup import MigrationStep, pending, update_schema
from vidpipe.settings import audit
from vidpipe.stages.registry import build_graph


def migrate(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Migrate the library to this version's schema.

    Every command runs quick migration steps automatically; steps that update many documents need this command. Make a
    backup first.
    """
    settings = command_context(context).load().settings
    with connect(settings) as connection, connection.errors_explained():
        names = {name: connection.collection(name).name for name in COLLECTIONS}
        graph = build_graph(settings)
        wanted = pending(connection.database, names, graph)
        report: dict[str, Any] = {
            "library": f"{connection.collection('videos').full_name} at {connection.host}",
            "from": wanted.version,
            "to": wanted.target,
            "steps": [asdict(step) for step in wanted.steps],
            "new_stages": list(wanted.new_stages) if wanted.version else [],
            "dry_run": dry_run,
        }
        if not as_json:
            _show(report, nothing=wanted.nothing)
        if not dry_run and not wanted.nothing:
            done = update_schema(connection.database, names, graph, long=True, on_step=None if as_json else _show_step)
            report["steps"] = [asdict(step) for step in done.steps]
            report["seconds"] = round(done.seconds, 3)
            audit("migrate", **report)
            if not as_json:
                out().print(words(f"Done in {done.seconds:.1f} s, with the indexes."))
    if as_json:
        print_json(report)


def _show(report: dict[str, Any], *, nothing: bool) -> None:
    console = out()
    if nothing:
        console.print(words(f"{report['library']} has schema version {report['to']}: up to date."), soft_wrap=True)
        return
    was = f"schema version {report['from']}" if report["from"] else "no schema yet"
    console.print(words(f"{report['library']}: {was}; this version needs {report['to']}."), soft_wrap=True)
    for step in report["steps"]:
        over = f" ({counted(step['documents'], 'document')})" if step["documents"] else ""
        console.print(words(f"  {step['since']} to {step['to']}: {step['what']}{over}"), soft_wrap=True)
    if report["new_stages"]:
        console.print(words(f"  Adds an entry to every video for {', '.join(report['new_stages'])}."), soft_wrap=True)
    if any(not step["quick"] for step in report["steps"]) and report["dry_run"]:
        note("Make a backup first: `vidpipe backup DIR`.")


def _show_step(step: MigrationStep) -> None:
    note(f"  {step.since} to {step.to}: {counted(step.changed or 0, 'document')} changed, {step.seconds:.1f} s")
