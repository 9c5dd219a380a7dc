"""vidpipe migrate: a library of an older vidpipe brought up to date."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidpipe.cli.call import call_of
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, note, out, print_json, words

if TYPE_CHECKING:
    from vidpipe.library.schema_setup import MigrationStep


def migrate(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Bring the library to this vidpipe's schema version: from which to which, and what each step does.

    Quick steps are done by every command by itself; those that go over many documents wait for this one. Make a
    back-up first.
    """
    from vidpipe.library.connection import connect
    from vidpipe.library.schema import COLLECTIONS
    from vidpipe.library.schema_setup import pending, update_schema
    from vidpipe.settings import audit
    from vidpipe.stages.registry import GRAPH

    settings = call_of(context).load().settings
    with connect(settings) as connection, connection.errors_explained():
        names = {name: connection.collection(name).name for name in COLLECTIONS}
        wanted = pending(connection.database, names, GRAPH)
        told: dict[str, Any] = {
            "library": f"{connection.collection('videos').full_name} at {connection.host}",
            "from": wanted.version,
            "to": wanted.target,
            "steps": [asdict(step) for step in wanted.steps],
            "new_stages": list(wanted.new_stages) if wanted.version else [],
            "dry_run": dry_run,
        }
        if not as_json:
            _show(told, nothing=wanted.nothing)
        if not dry_run and not wanted.nothing:
            done = update_schema(connection.database, names, GRAPH, long=True, on_step=None if as_json else _told)
            told["steps"] = [asdict(step) for step in done.steps]
            told["seconds"] = round(done.seconds, 3)
            audit("migrate", **told)
            if not as_json:
                out().print(words(f"Done in {done.seconds:.1f} s, with the indexes."))
    if as_json:
        print_json(told)


def _show(told: dict[str, Any], *, nothing: bool) -> None:
    console = out()
    if nothing:
        console.print(words(f"{told['library']} has schema version {told['to']}: up to date."), soft_wrap=True)
        return
    was = f"schema version {told['from']}" if told["from"] else "no schema yet"
    console.print(words(f"{told['library']}: {was}; this vidpipe's is {told['to']}."), soft_wrap=True)
    for step in told["steps"]:
        over = f" ({counted(step['documents'], 'document')})" if step["documents"] else ""
        console.print(words(f"  {step['since']} to {step['to']}: {step['what']}{over}"), soft_wrap=True)
    if told["new_stages"]:
        console.print(words(f"  Every video gets an entry for {', '.join(told['new_stages'])}."), soft_wrap=True)
    if any(not step["quick"] for step in told["steps"]) and told["dry_run"]:
        note("Make a back-up first: `vidpipe backup DIR`.")


def _told(step: MigrationStep) -> None:
    note(f"  {step.since} to {step.to}: {counted(step.changed or 0, 'document')} changed, {step.seconds:.1f} s")
