"""vidpipe plan: what `vidpipe run` would do, before it does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidpipe.cli.call import Opened, opened
from vidpipe.cli.options import (
    DueVideos,
    Json,
    QwenInstruction,
    SceneDetector,
    SceneThreshold,
    Stages,
    overrides,
    stage_names,
)
from vidpipe.cli.output import error_object, print_json

if TYPE_CHECKING:
    from vidpipe.runner.estimate import Estimate


def plan(
    context: typer.Context,
    videos: DueVideos = None,
    *,
    stages: Stages = None,
    retry: Annotated[bool, typer.Option("--retry", help="With failed and quarantined videos.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With what is current, too.")] = False,
    as_json: Json = False,
    scene_threshold: SceneThreshold = None,
    scene_detector: SceneDetector = None,
    qwen_instruction: QwenInstruction = None,
) -> None:
    """What `vidpipe run` with the same arguments would do: videos by stage, what the describing model would be asked,
    and the time and cost by what was measured here.

    Nothing is changed, and no model is loaded. Files are not looked for: a lost one is found by the run.
    """
    from vidpipe.cli.running import warn_of_unread
    from vidpipe.runner.estimate import estimate
    from vidpipe.runner.plan import Plan
    from vidpipe.runner.request import RunRequest

    names = stage_names(stages)
    with opened(context, overrides(scene_threshold, scene_detector, qwen_instruction, None)) as library:
        chosen = Plan.make(library.library.graph, library.settings, names)
        try:
            ids = [library.library.videos.resolve(video) for video in videos] if videos else None
            forced = frozenset(chosen.specs) if force else frozenset()
            request = RunRequest(videos=ids, stages=names, retry=retry, force=forced)
            found = estimate(library.library, chosen, request)
            changed = _changed(library, chosen, found)
            budget = _budget(library)
            if names is None or "descriptions" in names:
                warn_of_unread(library.settings)
        finally:
            chosen.close()
    if as_json:
        from vidpipe.runner.estimate import estimate_as_json

        problems = {name: error_object(problem) for name, problem in chosen.unavailable.items()}
        print_json({**estimate_as_json(found), "changed": changed, "budget": budget, "problems": problems})
    else:
        from vidpipe.cli.plan_view import show

        show(found, changed, budget, chosen.unavailable)


def _changed(opened: Opened, plan: Any, found: Estimate) -> dict[str, str]:
    """stage -> what changed, where that made videos due."""
    from vidpipe.library.launchable import waiting_for_spec
    from vidpipe.pipeline.waiting import what_changed

    changed = {}
    for stage in plan.stages:
        if any(one.name == stage.name and one.due.why["spec"] for one in found.stages):
            waiting = waiting_for_spec(opened.library.collections["videos"], stage.name, plan.specs[stage.name])
            if waiting is not None:
                changed[stage.name] = what_changed(opened.library, plan, stage, waiting.former)
    return changed


def _budget(opened: Opened) -> dict[str, Any] | None:
    """What was used of the budget; None where there is none."""
    from vidpipe.runner.budget import Prices, recent_usages, usage_in_window, usage_sentence

    budget = opened.settings.budget
    if not budget.is_limited:
        return None
    spent = usage_in_window(recent_usages(opened.library.collections["runs"], Prices.of(opened.settings)))
    return {
        "model_hours": budget.model_hours, "used_model_hours": round(spent.seconds / 3600, 5), "cost": budget.cost,
        "used_cost": round(spent.cost, 6), "sentence": usage_sentence(budget, spent),
    }  # fmt: skip
