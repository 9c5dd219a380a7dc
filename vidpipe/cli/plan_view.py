"""A plan, drawn: a row a stage, and below it what the describing model would be asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vidpipe.cli.output import counted, note, out, say, table, words
from vidpipe.errors import VidpipeError
from vidpipe.measures.wording import brief
from vidpipe.runner.estimate import Estimate, ModelEstimate, StageEstimate

_WHY = {
    "new": "new", "inputs": "inputs changed", "files": "files lost", "next try": "to be tried again",
    "spec": "settings, prompts, model or code changed", "retry": "failed before", "force": "asked for",
}  # fmt: skip
_UNMEASURED = "not measured yet"
_LONG_S = 360.0
_LEAST_SHOWN = 0.1


def show(
    found: Estimate,
    changed: Mapping[str, str],
    budget: Mapping[str, Any] | None,
    problems: Mapping[str, VidpipeError],
) -> None:
    """changed: stage -> what changed; budget: what was used of it; problems: stages that cannot run"""
    console = out()
    console.print(_stages(found, changed))
    if not found.videos and not problems:
        say(console, words("Nothing is due: every video is current, blocked or has failed before (`vidpipe status`)."))
    elif found.videos:
        for sentence in _sentences(found):
            say(console, words(sentence))
    for stage in found.stages:
        if stage.due.blocked:
            say(console, words(f"{stage.name}: {_videos(stage.due.blocked)} blocked by a stage that failed or "
                               "is not among these.", "yellow"))  # fmt: skip
    failed = sum(stage.due.failed + stage.due.quarantined for stage in found.stages)
    if failed:
        say(console, words(f"{counted(failed, 'failed result')} stay as they are without --retry.", "yellow"))
    if budget is not None:
        say(console, words(f"{budget['sentence']} It holds sensors back, not `vidpipe run`.", "dim"))
    for name, problem in problems.items():
        say(console, words(f"Stage {name} cannot run: {problem.message}", "red"))
        if problem.hint:
            say(console, words(f"  {problem.hint}", "dim"))
    if found.videos:
        note("Nothing was changed: `vidpipe run` does it.")


def _stages(found: Estimate, changed: Mapping[str, str]) -> Any:
    right = {"justify": "right"}
    follow = any(stage.due.may_follow for stage in found.stages)
    columns: list[str | tuple[str, Mapping[str, Any]]] = ["stage", ("due", right), ("then", right)]
    columns += [("may follow", right)] if follow else []
    columns += [("work", right), ("why", {"overflow": "fold"})]
    made = table(*columns)
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
    return words(_UNMEASURED, "dim") if stage.seconds is None else brief(stage.seconds)


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
            f"{_videos(found.videos)}: about {brief(found.wall_s)} from beginning to end, "
            f"{brief(found.seconds)} of work{without}."
        )
    else:
        yield f"{_videos(found.videos)}. How long that takes is {_UNMEASURED}: the first run measures it."
    if any(stage.due.may_follow for stage in found.stages):
        yield "What may follow is computed only where the stages before it come to another result."


def _model(model: ModelEstimate, currency: str) -> Iterator[str]:
    amount = model.amount
    if amount.videos:
        most = "at most " if amount.at_most else "about " if model.like_them or model.typical else ""
        yield (
            f"{model.name} describes {amount.videos:,.0f} videos, {amount.scenes:,.0f} scenes: {amount.asked:,.0f} "
            f"answers to ask, {amount.reused:,.0f} there already; {amount.frames:,.0f} frames, {most}"
            f"{amount.prompt_tokens:,.0f} prompt and {amount.output_tokens:,.0f} output tokens."
        )
        cost = "" if model.cost is None else f"; cost {most}{_money(model.cost)} {currency}"
        yield f"Time of the model: {_hours(amount.seconds)}{cost}."
    if model.like_them:
        yield f"Estimated from {model.counted:,} of {model.counted + model.like_them:,} videos."
    if model.typical:
        yield f"{_videos(model.typical)} not cut into scenes yet: taken to be like the others."
    if model.unknown:
        yield (
            f"{_videos(model.unknown)} not cut into scenes yet, like all others: what the model will be asked "
            "is known after the stage scenes (`vidpipe run --stages raw_video,metadata,scenes`)."
        )


def _videos(number: int) -> str:
    return "1 video" if number == 1 else f"{number:,} videos"


def _hours(seconds: float | None) -> str:
    """Of the model's time."""
    if seconds is None:
        return _UNMEASURED
    return f"{brief(seconds)} ({seconds / 3600:,.1f} hours)" if seconds >= _LONG_S else brief(seconds)


def _money(cost: float) -> str:
    return f"{cost:,.2f}" if cost >= _LEAST_SHOWN or not cost else f"{cost:.2g}"
