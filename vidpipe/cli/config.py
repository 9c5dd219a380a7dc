"""vidpipe config: the effective settings and where each came from."""

from __future__ import annotations

from typing import Annotated

import typer

from vidpipe.cli.call import call_of
from vidpipe.cli.options import Json
from vidpipe.cli.output import out, print_json, table, words


def config(
    context: typer.Context,
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the default.")] = False,
    as_json: Json = False,
) -> None:
    """Print the effective settings and where each came from; secrets are masked."""
    loaded = call_of(context).load()
    entries = [entry for entry in loaded.entries() if entry.differs or not changed]
    if as_json:
        settings: dict[str, dict[str, dict[str, object]]] = {}
        for entry in entries:
            settings.setdefault(entry.section, {})[entry.key] = {
                "value": entry.value, "source": entry.source, "default": entry.default, "differs": entry.differs,
                "allowed": entry.allowed, "description": entry.description, "environment": entry.environment,
            }  # fmt: skip
        print_json({"home": str(loaded.settings.home), "config": str(loaded.config), "settings": settings})
        return
    console = out()
    console.print(words(f"home {loaded.settings.home}, settings {loaded.config}", "dim"), soft_wrap=True)
    made = table(("setting", {"no_wrap": True}), ("value", {"overflow": "fold"}), ("from", {"overflow": "fold"}))
    section = ""
    for entry in entries:
        if entry.section != section:
            section = entry.section
            made.add_row(words(f"[{section}]", "bold"))
        made.add_row(
            words(f"  {entry.key}"), words(entry.value, "bold" if entry.differs else ""), words(entry.source, "dim")
        )
    console.print(made)
