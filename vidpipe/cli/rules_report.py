"""vidpipe rules report, evaluate and trends: figures on rules, on tags against labels, and over time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json, with_filters
from vidpipe.cli.output import note, out, print_json, table, words
from vidpipe.errors import SettingsError
from vidpipe.library.queries.trends import KINDS, By
from vidpipe.safe_files import read_regular_text, replace_file

Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE.png", help="Also write a picture.")]

_MATRIX = "true category, and the one found"


def report(
    context: typer.Context,
    rule: Annotated[str | None, typer.Option("--rule", metavar="ID", help="Only this rule.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only rules that decide about this tag.")] = None,
    as_json: Json = False,
) -> None:
    """Show what each rule covers, how often it is right, which rules disagree, and which verdicts to give next."""
    from vidpipe.library.queries.rule_report import rule_report
    from vidpipe.models.questions import build_priority_keywords

    with open_library(context) as opened:
        keywords = build_priority_keywords(opened.settings).keywords
        found = rule_report(opened.library, opened.plan.rules, keywords, rule, tag).model_dump()
    if as_json:
        print_json(found)
        return
    for title in ("rules", "tags", "categories", "pairs", "keywords"):
        rows = [row for row in found[title] if rule or tag or title == "pairs" or _says_something(row)]
        _show(title, [row | _NO_INTERVAL if row.get("yes") == row.get("no") == 0 else row for row in rows])
        if hidden := len(found[title]) - len(rows):
            note(f"{hidden} more {title}: not found in any video and without verdicts; --json lists all.")
    _show("wrong conditions", [{"rule": one["rule"], **wrong} for one in found["rules"] for wrong in one["conditions"]])
    _show("advice", [{"rule": one["rule"], "says": one["advice"]} for one in found["rules"] if one["yes"] + one["no"]])
    _show("ask next (yes or no)", [{"command": command} for one in found["ask_next"] for command in one["commands"]])


def evaluate(
    context: typer.Context,
    labels: Annotated[Path | None, typer.Argument(metavar="LABELS.csv", help="Columns: video, tags, category.")] = None,
    stored: Annotated[bool, typer.Option("--stored", help="Use the labels stored from lists instead.")] = False,
    plot: Plot = None,
    as_json: Json = False,
) -> int:
    """Compare tags and categories with labels: precision, recall, F1, confusion."""
    from vidpipe.library.queries.label_evaluation import evaluate_labels, labelled_videos, read_labels

    if (labels is None) is not stored:
        raise SettingsError("Name a file of labels, or use --stored.", "docs/rules.md shows such a file.")
    text = read_regular_text(labels, "replace") if labels else ""
    with open_library(context) as opened:
        given, problems = read_labels(text, opened.library) if labels else (labelled_videos(opened.library), [])
        found = evaluate_labels(opened.library, given, opened.plan.rules.vocabulary.canonical)
    scores = {name: {one["tag"]: one[name] or 0 for one in found["tags"]} for name in ("precision", "recall")}
    _picture(plot, {"tags": scores, _MATRIX: found["confusion"]})
    if as_json:
        print_json(found | {"problems": problems})
    else:
        averages = [{"tag": f"({name} average)"} | found[name] for name in ("micro", "macro")]
        _show(f"tags of {found['videos']} videos", [*found["tags"], *averages])
        _show("categories", [{"true": true, "found": row} for true, row in found["confusion"].items()])
        for problem in problems:
            note(problem, "yellow")
    return 1 if problems else 0


@with_filters
def trends(
    context: typer.Context,
    *,
    filters: tuple[str, ...],
    by: Annotated[By, typer.Option("--by", help="Group by time, or by source: host or watched list.")] = "month",
    created: Annotated[bool, typer.Option("--created", help="Time of creation, where known, not of addition.")] = False,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Show tags, categories, sentiment and durations by time and source."""
    from vidpipe.cli.video_selection import search_engine
    from vidpipe.library.queries.trends import trends as grouped

    with open_library(context) as opened:
        ids = search_engine(opened).ids("", filters) if filters else None
        rows = grouped(opened.library, by, ids, created=created)
    panels: dict[str, dict[str, dict[str, int]]] = {kind: defaultdict(dict) for kind in KINDS}
    for row, kind in ((row, kind) for row in rows for kind in KINDS):
        for name, number in row[kind].items():
            panels[kind][name][str(row["by"])] = number
    _picture(plot, panels)
    if as_json:
        print_json({"by": by, "trends": rows})
    else:
        _show(f"by {by}", rows)


def _picture(plot: Path | None, panels: Mapping[str, Any]) -> None:
    if plot:
        from vidpipe.operations.metrics.plots import panels_png

        replace_file(plot, panels_png(panels, _MATRIX))
        note(f"Picture: {plot}")


#: Without verdicts, anything between 0 and 1 is possible.
_NO_INTERVAL: Mapping[str, Any] = {"low": None, "high": None}


def _says_something(row: Mapping[str, Any]) -> bool:
    return any(row.get(name) for name in ("videos", "yes", "no", "missed", "descriptions", "model_tags"))


def _show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    names = [name for name in rows[0] if name not in ("title", "conditions", "advice")] if rows else []
    made = table(*names, title=title)
    for row in rows:
        made.add_row(*(words(_cell(row.get(name))) for name in names))
    if rows:
        out().print(made, "")


def _cell(value: Any) -> str:
    if isinstance(value, dict | list):
        return ", ".join(f"{one} {value[one]}" if isinstance(value, dict) else str(one) for one in value)
    return f"{value:.2f}" if isinstance(value, float) else "" if value is None else str(value)
