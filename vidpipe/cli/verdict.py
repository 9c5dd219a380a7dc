"""vidpipe verdict: what people say of tags and categories."""

import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vidpipe.cli.context import OpenLibrary, open_library, user_name
from vidpipe.cli.options import Json
from vidpipe.cli.output import clean, counted, note, print_error, print_json
from vidpipe.errors import SettingsError, VidpipeError
from vidpipe.library.verdicts import Name, VerdictChange
from vidpipe.runner.label_now import label_now
from vidpipe.safe_files import read_regular
from vidpipe.settings import audit
from vidpipe.sources.lists import physical_lines
from vidpipe.tagging.validation import validated
from vidpipe.text.csv_cells import csv_text, text_of_csv
from vidpipe.text.messages import did_you_mean
from vidpipe.text.words import tag_key

_COLUMNS = ("video", "tag", "verdict", "note", "start_s", "by", "kind")


class SignedVerdict(VerdictChange):
    """A verdict, and who says so."""

    by: Name = user_name()


def verdict(
    context: typer.Context,
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A hash prefix, URL or file name.")] = "",
    tag: Annotated[str, typer.Argument(metavar="TAG", help="The tag, or the category with --category.")] = "",
    answer: Annotated[str, typer.Argument(metavar="yes|no", help="Whether it is right.")] = "",
    *,
    why: Annotated[str, typer.Option("--note", help="Why; shown with the tag.")] = "",
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="Only of the scene at this time: 83.5 or 1:23.")] = "",
    category: Annotated[bool, typer.Option("--category", help="TAG is a category.")] = False,
    by: Annotated[str, typer.Option("--by", help="Who says so. Default: you.")] = "",
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Withdraw the verdict.")] = False,
    file: Annotated[
        Path | None,
        typer.Option("--import", help=f"Give the verdicts in a CSV file with the columns {', '.join(_COLUMNS)}."),
    ] = None,
    from_label_studio: Annotated[
        Path | None,
        typer.Option(
            "--from-label-studio",
            metavar="FILE.json",
            help="Give the verdicts in annotations of Label Studio, exported there as JSON; see docs/datasets.md.",
        ),
    ] = None,
    export: Annotated[bool, typer.Option("--export", help="List verdicts as such a file.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept tags that no rule and no video has.")] = False,
    as_json: Json = False,
) -> int:
    """Say whether a tag or category of a video is right, or list what was said.

    A verdict prevails over rules and models until it is withdrawn: `yes` gives the tag, `no` removes it. Without TAG,
    verdicts are listed: of one VIDEO, or all.
    """
    if (file or from_label_studio) and (video or (file and from_label_studio)):
        raise SettingsError("One file of verdicts is read at a time, and it names the videos.", "Leave out the others.")
    file, place = (file, "line") if file else (from_label_studio, "task")
    with open_library(context) as opened:
        if file is None and not tag:
            return _show(opened, video, as_json=as_json and not export)
        kind, said = "category" if category else "tag", None if withdraw else answer
        typed = {"video": video, "tag": tag, "verdict": said, "note": why, "start_s": at, "by": by, "kind": kind}
        known = None if yes else _known(opened)
        done, problems = list[dict[str, Any]](), list[dict[str, Any]]()
        read = [(0, typed)] if file is None else _rows(file, by) if place == "line" else _annotated(opened, file, by)
        for number, cells in read:
            try:
                done.append(_give(opened, cells, known))
            except VidpipeError as error:
                if file is None:
                    raise
                problems.append({place: number, **error.as_json()})
                print_error(VidpipeError(f"{file.name}, {place} {number}: {error.message}", error.hint))
        applied = label_now(opened.library, opened.plan, [one["video"] for one in done])
    if as_json:
        print_json({"verdicts": done, "problems": problems, "applied": applied})
    note(f"{counted(len(done), 'verdict')} stored{'' if applied else '; `vidpipe run` applies what waits'}.")
    return 1 if problems else 0


def _known(opened: OpenLibrary) -> dict[str, dict[str, str]]:
    """Return kind -> key -> tag or category, of those that rules give or videos have."""
    videos, resources = opened.library.collections["videos"], opened.plan.resources
    # Read from an index, whose entry for a video without tags or category is null.
    tags = [tag for rule in getattr(resources.get("custom_tags"), "rules", ()) for tag in rule.tags]
    categories = [one.name for one in getattr(resources.get("categories"), "categories", ())]
    return {
        "tag": {tag_key(one): one for one in (*tags, *filter(None, videos.distinct("tags.tag")))},
        "category": {tag_key(one): one for one in (*categories, *filter(None, videos.distinct("category.category")))},
    }


def _give(
    opened: OpenLibrary, cells: Mapping[str, str | None] | VidpipeError, known: Mapping[str, Mapping[str, str]] | None
) -> dict[str, Any]:
    """Store a verdict, and return it with the previous one. Raises VidpipeError."""
    if isinstance(cells, VidpipeError):
        raise cells
    given = validated(SignedVerdict, {name: cell for name, cell in cells.items() if cell != ""}, "The verdict")
    if known is not None and given.verdict and tag_key(given.tag) not in known[given.kind]:
        similar = did_you_mean(given.tag, known[given.kind].values()) or "."
        raise SettingsError(f'No rule and no video has the {given.kind} "{given.tag}"{similar}', "--yes accepts it.")
    said = given.model_dump() | {"video": opened.library.videos.resolve(given.video)}
    said["previous"] = opened.library.verdicts.put(**said)
    audit("verdict", **{name: value for name, value in said.items() if name != "note"})
    return said


def _rows(path: Path, by: str) -> Iterator[tuple[int, dict[str, str | None] | VidpipeError]]:
    """Yield number and cells of each line, or what is wrong with it. Each is read alone: none can swallow others."""
    header: list[str] = []
    for number, line in enumerate(physical_lines(read_regular(path).decode("utf-8-sig", "surrogateescape")), 1):
        try:
            cells = next(csv.reader([line], strict=True), [])
        except csv.Error as error:
            yield number, SettingsError(f"This is not a line of CSV: {error}.")
            continue
        if not header:
            header = [cell.strip().casefold() for cell in cells]
            if not {"video", "tag", "verdict"} <= {*header} <= {*_COLUMNS} or len({*header}) < len(header):
                raise SettingsError(
                    f"{path.name}: the first line names the columns.", f"They are {', '.join(_COLUMNS)}."
                )
        elif len(cells) > len(header):
            yield number, SettingsError(f"There are {len(cells)} cells, but {len(header)} columns.")
        elif cells:
            plain = (text_of_csv(cell.strip()) for cell in cells)
            yield number, {"by": by, **{name: cell for name, cell in zip(header, plain, strict=False) if cell}}


def _annotated(opened: OpenLibrary, path: Path, by: str) -> Iterator[tuple[int, dict[str, Any] | VidpipeError]]:
    from vidpipe.datasets.exporters.label_studio import read_verdicts

    def scenes(video: str) -> list[tuple[float, float]]:
        return [(one["start_s"], one["end_s"]) for one in opened.library.videos.scenes([video]).get(video, ())]

    for number, said in read_verdicts(read_regular(path), scenes):
        yield number, said if isinstance(said, VidpipeError) else said | {"by": said["by"] or by}


def _show(opened: OpenLibrary, video: str, *, as_json: bool) -> int:
    only = opened.library.videos.resolve(video) if video else None
    rows = [{name: row[name] for name in (*_COLUMNS, "at", "rule")} for row in opened.library.verdicts.find(video=only)]
    if as_json:
        print_json({"verdicts": rows})
        return 0
    writer = csv.writer(sys.stdout)
    writer.writerow(_COLUMNS)
    for row in rows:
        cells = (clean("" if row[name] is None else row[name]) for name in _COLUMNS)
        writer.writerow(map(csv_text, cells))
    return 0
