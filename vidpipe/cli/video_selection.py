"""Which videos a command is about: named ones, all, or those that fulfil conditions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from vidpipe.cli.context import OpenLibrary
from vidpipe.cli.output import counted, note
from vidpipe.errors import SettingsError

All = Annotated[bool, typer.Option("--all", help="All videos.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="CONDITION",
        help="Videos that fulfil this, as in metadata_conditions of the rules: duration_gt=600, orientation=portrait, "
        "resolution_in='[\"4K\", \"8K\"]'; several: all of them.",
    ),
]  # fmt: skip


def chosen_videos(opened: OpenLibrary, named: Sequence[str], *, every: bool, where: Sequence[str]) -> list[str]:
    """The sha256 of the videos, in the order in which they were named, or of their hashes.

    Raises NoSuchVideo for a name that is none's, SettingsError where nothing, or two things, were said, or for a
    condition that is none.
    """
    if sum((bool(named), every, bool(where))) != 1:
        raise SettingsError(
            "Which videos? Name some, or give --all, or --where CONDITION; one of the three.",
            "`vidpipe list` shows the videos.",
        )
    if named:
        return list(dict.fromkeys(opened.library.videos.resolve(name) for name in named))
    if every:
        return [row["_id"] for row in opened.library.collections["videos"].find({}, {"_id": 1}).sort("_id", 1)]
    return _fulfilling(opened, where)


def _fulfilling(opened: OpenLibrary, where: Sequence[str]) -> list[str]:
    from vidpipe.library.videos import projection, read_fields
    from vidpipe.stages.rule_facts import READS, rule_facts
    from vidpipe.tagging.conditions import parse_condition

    try:
        conditions = [parse_condition(*_pair(condition)) for condition in where]
    except ValueError as error:
        raise SettingsError(f"--where: {error}.", "docs/rules.md lists what can be asked.") from None
    found, unknown = [], 0
    graph = opened.library.graph
    for row in opened.library.collections["videos"].find({}, projection(graph, READS)).sort("_id", 1):
        try:
            facts = rule_facts(read_fields(graph, READS, row, ()))
        except KeyError:
            unknown += 1
            continue
        if all(condition.holds(facts) for condition in conditions):
            found.append(row["_id"])
    if unknown:
        note(f"{counted(unknown, 'video')} not looked at: some of their stages have no result yet (`vidpipe run`).")
    return found


def _pair(condition: str) -> tuple[str, Any]:
    key, equals, value = condition.partition("=")
    if not equals:
        raise ValueError(f'"{condition}" is no condition: write KEY=VALUE, such as duration_gt=600')
    try:
        return key.strip(), json.loads(value, parse_constant=_no_number)
    except ValueError:
        return key.strip(), value.strip()


def _no_number(name: str) -> NoReturn:
    """NaN and Infinity, which Python reads: nothing is above or below them."""
    raise ValueError(name)
