"""vidpipe init and vidpipe config: create a home; print its effective settings."""

from pathlib import Path
from typing import Annotated

import typer

from vidpipe.cli.context import command_context
from vidpipe.cli.options import Json
from vidpipe.cli.output import note, out, print_json, say, table, words
from vidpipe.settings import init_home


def init(
    context: typer.Context,
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Home directory. Default: --home, or the current directory.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite config.ini and rules; existing files are kept as NAME.bak.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create a home: config.ini with every setting explained, rules/ and data/.

    Existing files are kept.
    """
    report = init_home(directory or command_context(context).home or Path.cwd(), force)
    if as_json:
        names = {"made": report.made, "replaced": report.replaced, "kept": report.kept}
        print_json({"home": str(report.home), **names})
        return
    say(out(), words(report.sentence()))
    note(
        "Next: `vidpipe add URL-OR-FILE …` in that directory, then `vidpipe run`. "
        "`vidpipe doctor` checks the installation."
    )


def config(
    context: typer.Context,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that differ from their defaults.")] = False,
    as_json: Json = False,
) -> None:
    """Print the effective settings and where each comes from; secrets are masked."""
    loaded = command_context(context).load()
    if as_json:
        print_json(loaded.as_json(changed=changed))
        return
    entries = [entry for entry in loaded.entries() if entry.differs or not changed]
    console = out()
    console.print(words(f"home {loaded.settings.home}, settings {loaded.config}", "dim"), soft_wrap=True)
    made = table(("setting", {"no_wrap": True}), "value", "from", fold=("value", "from"))
    section = ""
    for entry in entries:
        if entry.key.section != section:
            section = entry.key.section
            made.add_row(words(f"[{section}]", "bold"))
        made.add_row(
            words(f"  {entry.key.name}"),
            words(entry.value, "bold" if entry.differs else ""),
            words(entry.source, "dim"),
        )
    console.print(made)
