"""Confirmation of what cannot be undone, or is expensive."""

import sys
from collections.abc import Callable

import typer

from vidpipe.cli.output import note
from vidpipe.errors import SettingsError


def confirm(
    command: str, question: str, *, yes: bool, as_json: bool, show: Callable[[], object] = lambda: None
) -> None:
    """Ask on stderr whether to go on.

    Args:
        command: Who asks, such as "vidpipe forget".
        question: What is asked.
        yes: Do not ask.
        as_json: The output is for a program, which cannot be asked.
        show: Shows what the question is about.

    Raises:
        SettingsError: Nobody can be asked.
        typer.Exit: The user declined.
    """
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        why = "--json is given" if as_json else "stdin is not a terminal"
        raise SettingsError(f"`{command}` asks for confirmation, but {why}.", "Use --yes to confirm.")
    show()
    if not typer.confirm(question, err=True):
        note("Nothing was changed.")
        raise typer.Exit(1)
