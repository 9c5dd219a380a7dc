"""vidpipe dataset: versions of datasets."""

import math
from dataclasses import asdict
from itertools import takewhile
from threading import Event
from typing import Annotated, Any

import typer

from vidpipe.cli import options
from vidpipe.cli.context import open_library, user_name
from vidpipe.cli.interrupt import INTERRUPTED, stoppable
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, duration, note, out, print_json, table, words
from vidpipe.cli.progress import PartsDisplay
from vidpipe.cli.video_selection import All, Named, Where, chosen_videos
from vidpipe.datasets import versions
from vidpipe.datasets.card import report
from vidpipe.datasets.items import library_items
from vidpipe.datasets.splits import parse_shares
from vidpipe.datasets.versions import DatasetVersion, SplitOrder
from vidpipe.errors import SettingsError
from vidpipe.settings import audit

_MOST_SHOWN = 20
_Split = Annotated[
    str, typer.Option("--split", metavar="80/10/10", help="Shares of train, validation, test; 80/20: train, test.")
]
_By = Annotated[
    str,
    typer.Option(
        "--by", metavar="label,source,group",
        help="label: balance; source (channel, playlist, folder, page), group (near-duplicates): keep together.",
    ),
]  # fmt: skip
_Length = Annotated[
    float | None, typer.Option("--length", min=0.1, help="Items of this many seconds; a shorter rest is left out.")
]
_Reference = Annotated[str, typer.Argument(metavar="NAME[@V]", help="A dataset, or one of its versions.")]


def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the dataset.")],
    named: Named = None,
    *,
    every: All = False,
    where: Where = None,
    search: options.Search = None,
    split: _Split = "",
    by: _By = "label,group",
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31, help="Equal seeds give equal splits.")] = 0,
    scenes: Annotated[bool, typer.Option("--scenes", help="One item per scene instead of one per video.")] = False,
    length_s: _Length = None,
    as_json: Json = False,
) -> int:
    """Create a version of a dataset: an immutable list of videos with splits.

    Its items are stored as they are now: later exports are the same whatever changes meanwhile. Videos of earlier
    versions of the dataset keep their splits.
    """
    if length_s is not None and (scenes or not math.isfinite(length_s)):
        raise SettingsError("--length is a number of seconds, and excludes --scenes.", "Use one of them.")
    order = SplitOrder(parse_shares(split), tuple(filter(None, by.split(","))), seed)
    arguments = {"videos": named or [], "all": every, "where": where or [], "search": search, "split": split,
                 "scenes": scenes, "length_s": length_s}  # fmt: skip
    with open_library(context) as opened:
        ids = sorted(chosen_videos(opened, named or (), every=every, where=where or (), search=search))
        with PartsDisplay("Creating") as display:

            def work(cancelled: Event) -> tuple[DatasetVersion | None, bool]:
                found = library_items(opened.library, opened.plan, ids, scenes=scenes, length_s=length_s)
                items = takewhile(lambda _: not cancelled.is_set(), found)
                return versions.create_version(
                    opened.library, name, items, order, by=user_name(), arguments=arguments, cancelled=cancelled,
                    progress=lambda number: display.progress("items", number, None),
                )  # fmt: skip

            made, new = stoppable(work, display.say)
    if made is None:
        note("Interrupted; no version was made.")
        return INTERRUPTED
    if new:
        audit("dataset created", name=made.name, version=made.version, items=made.statistics["items"])
    else:
        note(f"Nothing has changed since {made.reference}; no new version was made.")
    if len(ids) > made.statistics["videos"]:
        note(f"{counted(len(ids) - made.statistics['videos'], 'video')} left out: no metadata or scenes, or too short.")
    if as_json:
        print_json({**asdict(made), "created": new})
    else:
        _print(made)
    return 0


def list_datasets(context: typer.Context, *, as_json: Json = False) -> None:
    """List datasets and their versions."""
    with open_library(context) as opened:
        found = list(versions.versions_of(opened.library))
    if as_json:
        print_json({"versions": [{**asdict(one), "statistics": {**one.statistics, "counts": {}}} for one in found]})
        return
    if not found:
        note("No dataset yet; `vidpipe dataset create` makes one.")
        return
    made = table("dataset", "items", "videos", "duration", "created", "by")
    for one in found:
        counts, at = one.statistics, f"{one.created_at:%Y-%m-%d %H:%M}"
        lasts = duration(counts["duration_s"])
        made.add_row(*map(words, (one.reference, counts["items"], counts["videos"], lasts, at, one.created_by)))
    out().print(made)


def show(context: typer.Context, reference: _Reference, *, as_json: Json = False) -> None:
    """Show a version: its splits, balance and leak check."""
    with open_library(context) as opened:
        found = versions.version_named(opened.library, reference)
        left = versions.items_left(opened.library, found)
    if as_json:
        print_json({**asdict(found), "items_left": left})
        return
    _print(found)
    if left < found.statistics["items"]:
        note(f"{counted(found.statistics['items'] - left, 'item')} of forgotten videos are gone.")


def _print(version: DatasetVersion) -> None:
    for line in report(version.statistics, version).splitlines():
        out().print(words(line), soft_wrap=True)


def diff(context: typer.Context, a: _Reference, b: _Reference, *, as_json: Json = False) -> None:
    """Show how two versions differ."""
    with open_library(context) as opened:
        old, new = (versions.version_named(opened.library, one) for one in (a, b))
        found = versions.compare_versions(opened.library, old, new)
    counts = {name: len(entries) for name, entries in found.items()}
    if as_json:
        print_json({"a": old.reference, "b": new.reference, "counts": counts, **found})
        return
    for name, entries in found.items():
        out().print(words(f"{name}: {counts[name]}"))
        for one in entries[:_MOST_SHOWN]:
            out().print(words(f"  {_difference(one)}"), soft_wrap=True)
        if counts[name] > _MOST_SHOWN:
            note(f"  … and {counts[name] - _MOST_SHOWN} more; --json lists all.")


def _difference(one: dict[str, Any]) -> str:
    if "before" not in one:
        return " ".join(filter(None, (one["key"], one.get("split"))))
    before, after = ("; ".join(said) if isinstance(said, list) else said for said in (one["before"], one["after"]))
    return f"{one['key']} {before or 'none'} → {after or 'none'}"
