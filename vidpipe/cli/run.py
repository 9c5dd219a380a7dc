"""vidpipe run: brings videos up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from vidpipe.cli.call import opened
from vidpipe.cli.options import (
    DueVideos,
    Json,
    Output,
    QwenInstruction,
    SceneThreshold,
    Stages,
    UseVpc,
    overrides,
    stage_names,
)
from vidpipe.cli.output import print_json


def run(
    context: typer.Context,
    videos: DueVideos = None,
    *,
    stages: Stages = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try failed and quarantined videos again.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Compute again what is current, too.")] = False,
    as_json: Json = False,
    scene_threshold: SceneThreshold = None,
    qwen_instruction: QwenInstruction = None,
    use_vpc: UseVpc = None,
    output: Output = None,
) -> None:
    """Bring videos up to date: only what is due is computed. One video's failure never stops the others.

    Options that are settings count for this call: what is due, and what is current, is judged under them.
    """
    from vidpipe.cli.running import Wish, finish, run_and_show
    from vidpipe.runner.plan import Plan

    names = stage_names(stages)
    given = overrides(scene_threshold, qwen_instruction, use_vpc)
    changed = any(value is not None for name, value in given.items() if name != "qwen_vl.use_vpc")
    with opened(context, given) as library:
        if names:
            Plan.make(library.library.graph, library.settings, names).close()  # names that are no stage's end here
        chosen = [library.library.videos.resolve(video) for video in videos] if videos else None
        wish = Wish(chosen, names, retry=retry, force=force, output=output, overridden=changed)
        result, code = run_and_show(library, wish, as_json=as_json)
    if as_json:
        print_json(result)
    finish(code)
