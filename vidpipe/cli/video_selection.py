"""Selection of videos: by name, all, by conditions, or by a search."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from vidpipe.cli.context import OpenLibrary
from vidpipe.cli.output import counted, note
from vidpipe.cli.progress import PartsDisplay
from vidpipe.errors import SettingsError
from vidpipe.library.videos import projection, read_fields
from vidpipe.stages.registry import enabled_analyses
from vidpipe.stages.rule_facts import rule_facts
from vidpipe.stages.tags import READS
from vidpipe.tagging.conditions import parse_condition

if TYPE_CHECKING:
    from vidpipe.search.engine import Engine

Named = Annotated[list[str] | None, typer.Argument(metavar="VIDEO", help="Hash prefixes, URLs or file names.")]
All = Annotated[bool, typer.Option("--all", help="All videos.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="CONDITION",
        help="Videos that meet a condition of the rules' metadata_conditions: duration_gt=600, orientation=portrait, "
        "resolution_in='[\"4K\", \"8K\"]'; repeatable: all must be met.",
    ),
]  # fmt: skip

#: Adding fewer changed videos to the index takes less than a second.
_SLOW = 1000


@contextmanager
def many_progress(title: str = "Updating the search index") -> Iterator[Callable[[int, int], None]]:
    """Give the block a function that shows on stderr how many videos are done, if there are many."""
    with ExitStack() as stack:
        display: PartsDisplay | None = None

        def progress(done: int, total: int) -> None:
            nonlocal display
            if total < _SLOW:
                return
            display = display or stack.enter_context(PartsDisplay(title))
            display.progress("videos", done, total)

        yield progress


def search_engine(opened: OpenLibrary) -> Engine:
    """Bring the search index up to date, showing the progress on stderr, and return what answers queries from it."""
    from vidpipe.search.engine import Engine  # imports tantivy, as does the index
    from vidpipe.search.index import SearchIndex

    with many_progress() as progress:
        if opened.kept is not None:
            opened.kept.index.progress = progress
            opened.kept.index.refresh()
            return opened.kept.engine
        index = SearchIndex.open(opened.library, note=note, progress=progress)
    return Engine(opened.library, opened.plan.specs, index)


def chosen_videos(
    opened: OpenLibrary,
    named: Sequence[str],
    *,
    every: bool = False,
    where: Sequence[str] = (),
    search: str | None = None,
) -> list[str]:
    """Return the sha256 of the selected videos, in the order named, otherwise sorted.

    Raises:
        NoSuchVideo: No video has the given name.
        SettingsError: Not exactly one kind of selection was given, or a condition is invalid.
        QueryError: The search cannot be understood.
    """
    if sum((bool(named), every, bool(where) or search is not None)) != 1:
        raise SettingsError(
            "Select videos in exactly one way: by name, or by options such as --search.",
            "`vidpipe list` shows the videos; the command's --help lists the options.",
        )
    if named:
        return list(dict.fromkeys(opened.library.videos.resolve(name) for name in named))
    if every:
        return [row["_id"] for row in opened.library.collections["videos"].find({}, {"_id": 1}).sort("_id", 1)]
    if search is None:
        return _matching(opened, where)
    if not search.strip():
        raise SettingsError("--search is empty, which would select every video.", "Write what is searched for.")
    found = search_engine(opened).ids(search)
    ids = _matching(opened, where, found) if where else found
    if not ids:
        note("No video was found.")
    return ids


def _matching(opened: OpenLibrary, where: Sequence[str], ids: Sequence[str] | None = None) -> list[str]:
    """Return the videos, of `ids` if given, that meet all conditions."""
    analyses = enabled_analyses(opened.settings)
    try:
        conditions = [parse_condition(*_pair(condition), analyses.vocabulary.names) for condition in where]
    except ValueError as error:
        raise SettingsError(f"--where: {error}.", "docs/rules.md lists the conditions.") from None
    found, unknown = [], 0
    graph = opened.library.graph
    optional = graph["tags"].optional_reads
    among = None if ids is None else frozenset(ids)
    for row in opened.library.collections["videos"].find({}, projection(graph, (*READS, *optional))).sort("_id", 1):
        if among is not None and row["_id"] not in among:
            continue
        try:
            fields = read_fields(graph, (*READS, *optional), row, (), optional)
            facts = rule_facts(fields, analyses=analyses)
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
