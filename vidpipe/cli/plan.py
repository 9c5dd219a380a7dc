"""vidpipe plan: what `vidpipe run` would do, and what it would cost."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json, Refetch, Search, Stages, stage_names, with_overrides
from vidpipe.cli.output import counted, note, out, print_json, say, say_problem, table, words
from vidpipe.cli.run import warn_of_unread
from vidpipe.cli.video_selection import chosen_videos
from vidpipe.errors import VidpipeError
from vidpipe.operations.metrics.statistics import format_duration
from vidpipe.runner.estimate import Estimate, ModelEstimate, StageEstimate
from vidpipe.runner.plan import Plan
from vidpipe.runner.preview import RunPreview
from vidpipe.runner.request import RunRequest


@with_overrides
def plan(
    context: typer.Context,
    videos: Annotated[
        list[str] | None,
        typer.Argument(metavar="VIDEO", help="Hash prefixes, URLs or file names. Default: all due videos."),
    ] = None,
    *,
    search: Search = None,
    stages: Stages = None,
    retry: Annotated[bool, typer.Option("--retry", help="Include failed and quarantined videos.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Include up-to-date results.")] = False,
    refetch: Refetch = False,
    as_json: Json = False,
    overrides: Mapping[str, Any],
) -> None:
    """Show what `vidpipe run` with the same arguments would do, and what it would cost.

    Counts videos per stage and model requests, and estimates time and cost from measurements of this library. Nothing
    is changed and no model is loaded. Missing files are not detected before the run.
    """
    names = stage_names(stages)
    with open_library(context, overrides) as opened:
        chosen = Plan.make(opened.library.graph, opened.settings, names)
        try:
            ids = chosen_videos(opened, videos or (), search=search) if videos or search is not None else None
            forced = frozenset(chosen.specs) if force else frozenset()
            request = RunRequest(videos=ids, stages=names, retry=retry, force=forced, refetch=refetch)
            found = RunPreview.of(opened.library, chosen, request)
            if names is None or "descriptions" in names:
                warn_of_unread(opened.settings)
        finally:
            chosen.close()
    if as_json:
        print_json(found.as_json())
    else:
        show_plan(found.estimate, found.changed, found.budget, found.problems)


_WHY = {
    "new": "new", "inputs": "inputs changed", "files": "files missing", "next try": "to be retried",
    "spec": "settings, prompts, model or code changed", "retry": "failed before", "force": "forced",
}  # fmt: skip
_UNMEASURED = "not measured yet"
_LONG_S = 360.0
_LEAST_SHOWN = 0.1


def show_plan(
    found: Estimate, changed: Mapping[str, str], budget: Mapping[str, Any] | None, problems: Mapping[str, VidpipeError]
) -> None:
    """Print a plan: a row per stage, and below it what the describing model would be asked.

    Args:
        found: The estimate.
        changed: Stage name -> what changed.
        budget: How much of the budget is used; None without a budget.
        problems: Stage name -> why it cannot run.
    """
    console = out()
    console.print(_stages(found, changed))
    if not found.videos and not problems:
        say(console, words("Nothing is due: every video is current, blocked or failed (see `vidpipe status`)."))
    elif found.videos:
        for sentence in _sentences(found):
            say(console, words(sentence))
    for stage in found.stages:
        if stage.due.blocked:
            say(console, words(f"{stage.name}: {counted(stage.due.blocked, 'video')} blocked by a stage that failed or "
                               "was not selected.", "yellow"))  # fmt: skip
        if stage.due.waiting:
            waiting = f"{stage.name}: {counted(stage.due.waiting, 'video')} waiting for deleted originals (--refetch)."
            say(console, words(waiting, "yellow"))
    failed = sum(stage.due.failed + stage.due.quarantined for stage in found.stages)
    if failed:
        say(console, words(f"{counted(failed, 'failed result')} will not be retried without --retry.", "yellow"))
    if budget is not None:
        say(console, words(f"{budget['sentence']} It limits sensors, not `vidpipe run`.", "dim"))
    for name, problem in problems.items():
        say_problem(f"Stage {name} cannot run: ", problem.message, problem.hint)
    if found.videos:
        note("Nothing was changed. Start with `vidpipe run`.")


def _stages(found: Estimate, changed: Mapping[str, str]) -> Any:
    follow = any(stage.due.may_follow for stage in found.stages)
    figures = ["due", "then", *(["may follow"] if follow else []), "work"]
    made = table("stage", *figures, "why", right=figures, fold=("why",))
    for stage in found.stages:
        due = stage.due
        cells = [due.due, due.follows, *([due.may_follow] if follow else [])]
        made.add_row(
            stage.name, *(words(f"{number:,}", "" if number else "dim") for number in cells), _work(stage),
            words(_why(stage, changed)),
        )  # fmt: skip
    return made


def _work(stage: StageEstimate) -> Any:
    if not stage.due.computed:
        return ""
    return words(_UNMEASURED, "dim") if stage.seconds is None else format_duration(stage.seconds)


def _why(stage: StageEstimate, changed: Mapping[str, str]) -> str:
    said = []
    for why, number in stage.due.why.most_common():
        named = f"{changed[stage.name]} changed" if why == "spec" and stage.name in changed else _WHY[why]
        said.append(f"{number:,} {named}")
    return "; ".join(said)


def _sentences(found: Estimate) -> Iterator[str]:
    if found.model is not None and found.model.amount.videos + found.model.unknown:
        yield from _model(found.model, found.prices.currency)
    if found.seconds or not found.unmeasured:
        without = f", without {', '.join(found.unmeasured)} ({_UNMEASURED})" if found.unmeasured else ""
        yield (
            f"{counted(found.videos, 'video')}: about {format_duration(found.wall_s)} wall time, "
            f"{format_duration(found.seconds)} of work{without}."
        )
    else:
        yield f"{counted(found.videos, 'video')}. Duration {_UNMEASURED}: the first run measures it."
    if any(stage.due.may_follow for stage in found.stages):
        yield "`may follow` is computed only if the stages before it produce a different result."


def _model(model: ModelEstimate, currency: str) -> Iterator[str]:
    amount = model.amount
    if amount.videos:
        most = "at most " if amount.at_most else "about " if model.like_them or model.typical else ""
        yield (
            f"{model.name} describes {amount.videos:,.0f} videos, {amount.scenes:,.0f} scenes: {amount.asked:,.0f} "
            f"answers to request, {amount.reused:,.0f} stored already; {amount.frames:,.0f} frames, {most}"
            f"{amount.prompt_tokens:,.0f} prompt and {amount.output_tokens:,.0f} output tokens."
        )
        cost = "" if model.cost is None else f"; cost {most}{_money(model.cost)} {currency}"
        yield f"Model time: {_hours(amount.seconds)}{cost}."
    if model.like_them:
        yield f"Estimated from {model.counted:,} of {model.counted + model.like_them:,} videos."
    if model.typical:
        yield f"{counted(model.typical, 'video')} without scenes yet: assumed to be like the others."
    if model.unknown:
        yield (
            f"{counted(model.unknown, 'video')} without scenes yet, like all others: the number of model requests "
            "is known after the stage scenes (`vidpipe run --stages raw_video,metadata,scenes`)."
        )


def _hours(seconds: float | None) -> str:
    """Of the model's time."""
    if seconds is None:
        return _UNMEASURED
    return (
        f"{format_duration(seconds)} ({seconds / 3600:,.1f} hours)" if seconds >= _LONG_S else format_duration(seconds)
    )


def _money(cost: float) -> str:
    return f"{cost:,.2f}" if cost >= _LEAST_SHOWN or not cost else f"{cost:.2g}"
