"""Selection of videos: by name, all, or by conditions."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from vidpipe.cli.context import OpenLibrary
from vidpipe.cli.output import counted, note
from vidpipe.errors import SettingsError
from vidpipe.library.videos import projection, read_fields
from vidpipe.stages.rule_facts import rule_facts
from vidpipe.stages.tags import READS
from vidpipe.tagging.conditions import parse_condition

All = Annotated[bool, typer.Option("--all", help="All videos.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="CONDITION",
        help="Videos that meet a condition of the rules' metadata_conditions: duration_gt=600, orientation=portrait, "
        "resolution_in='[\"4K\", \"8K\"]'; repeatable: all must be met.",
    ),
]  # fmt: skip


def chosen_videos(opened: OpenLibrary, named: Sequence[str], *, every: bool, where: Sequence[str]) -> list[str]:
    """Return the sha256 of the selected videos, in the order named, otherwise sorted.

    Raises:
        NoSuchVideo: No video has the given name.
        SettingsError: Not exactly one kind of selection was given, or a condition is invalid.
    """
    if sum((bool(named), every, bool(where))) != 1:
        raise SettingsError(
            "Select videos by name, with --all, or with --where CONDITION (exactly one of these).",
            "`vidpipe list` shows the videos.",
        )
    if named:
        return list(dict.fromkeys(opened.library.videos.resolve(name) for name in named))
    if every:
        return [row["_id"] for row in opened.library.collections["videos"].find({}, {"_id": 1}).sort("_id", 1)]
    return _matching(opened, where)


def _matching(opened: OpenLibrary, where: Sequence[str]) -> list[str]:
    try:
        conditions = [parse_condition(*_pair(condition)) for condition in where]
    except ValueError as error:
        raise SettingsError(f"--where: {error}.", "docs/rules.md lists the conditions.") from None
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
        note(f"{counted(unknown, 'video')} skipped: some stages have no result yet (`vidpipe run`).")
    return found


def _pair(condition: str) -> tuple[str, Any]:
    key, equals, value = condition.partition("=")
    if not equals:
        raise ValueError(f'"{condition}" is not a condition: use KEY=VALUE, such as duration_gt=600')
    try:
        return key.strip(), json.loads(value, parse_constant=_no_number)
    except ValueError:
        return key.strip(), value.strip()


def _no_number(name: str) -> NoReturn:
    """Reject NaN and Infinity, which Python's JSON parser accepts: nothing compares with them."""
    raise ValueError(name)
