"""vidpipe doctor: what is there, what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from vidpipe.cli.call import call_of
from vidpipe.cli.options import Json
from vidpipe.cli.output import out, print_json, table, words

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    context: typer.Context,
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair damaged data of MongoDB and Dagster, asking before each step.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --repair: do not ask.")] = False,
    empty: Annotated[
        bool, typer.Option("--empty", help="With --repair: start with an empty library if it is missing.")
    ] = False,
    backup: Annotated[
        Path | None,
        typer.Option("--backup", metavar="DIR", help="With --repair: restore this backup instead of the newest."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that everything vidpipe needs is there, and say what to do if not. Exit code 3 if a check fails.

    --repair lets mongod salvage a copy of damaged data, restores the newest backup if videos are lost, and adds stored
    files that the library does not know. Damaged files are moved to data/damaged.
    """
    from vidpipe.cli.doctor_checks import Check, check_all, failed
    from vidpipe.errors import SettingsError, VidpipeError

    if repair:
        from vidpipe.cli.repair import repair as repair_home

        settings = call_of(context).load().settings
        code = repair_home(settings, yes=yes, empty=empty, backup=backup, as_json=as_json)
        if code:
            raise typer.Exit(code)
        return
    if yes or empty or backup:
        raise SettingsError("--yes, --empty and --backup need --repair.", "`vidpipe doctor --help` explains them.")

    checks: list[Check]
    try:
        settings = call_of(context).load().settings
    except VidpipeError as error:
        checks = [failed("settings", error)]
    else:
        checks = list(_told(check_all(settings), quiet=as_json))
    worst = max((check.rank for check in checks), default=0)
    if as_json:
        plain: list[dict[str, Any]] = [check.plain() for check in checks]
        print_json({"ok": worst < 2, "checks": plain})
    else:
        _show(checks)
    if worst == 2:
        raise typer.Exit(3)


def _told(checks: Iterator[Any], *, quiet: bool) -> Iterator[Any]:
    """`checks`, with a word about the one that is being made: MongoDB's may take as long as its timeout."""
    from vidpipe.cli.output import err

    console = err()
    if quiet or not console.is_terminal:
        yield from checks
        return
    with console.status("Looking …"):
        yield from checks


def _show(checks: list[Any]) -> None:
    console = out()
    made = table("", "what", ("found", {"overflow": "fold"}), ("what to do", {"overflow": "fold"}))
    for check in checks:
        cells = (check.name, check.found, check.todo)
        made.add_row(words(check.status, _STYLES[check.status]), *(words(cell) for cell in cells))
    console.print(made)
    wrong = sum(check.status == "fail" for check in checks)
    console.print(f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong." if wrong else "All is there.")
