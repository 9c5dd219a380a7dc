"""vidpipe run: bring videos up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from vidpipe.cli.adding import add_and_run, with_stdin
from vidpipe.cli.context import open_library
from vidpipe.cli.options import (
    FileMode,
    Json,
    Output,
    QwenInstruction,
    SceneDetector,
    SceneThreshold,
    Stages,
    UseVpc,
    overridden_settings,
    overrides,
    stage_names,
)
from vidpipe.cli.output import print_json
from vidpipe.cli.running import finish, run_and_show
from vidpipe.cli.work import Adding
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunRequest


def run(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VIDEO|URL|FILE]...",
            help="Videos in the library (hash prefixes, names, URLs), or inputs of `vidpipe add`: URLs, files, "
            "directories, lists, - for stdin. Default: all due videos.",
        ),
    ] = None,
    *,
    stages: Stages = None,
    mode: FileMode = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Retry failed and quarantined videos, and failed sources.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Recompute up-to-date results too.")] = False,
    as_json: Json = False,
    scene_threshold: SceneThreshold = None,
    scene_detector: SceneDetector = None,
    qwen_instruction: QwenInstruction = None,
    use_vpc: UseVpc = None,
    output: Output = None,
) -> None:
    """Bring videos up to date: compute only what is due.

    A failed video never stops the others. URLs and files that are not in the library are added first. An existing path
    is used as a file, directory or list, even if a video in the library has the same name; a file that is unchanged
    since it was added means its video. Anything else is the name of a video in the library, or a URL to download.

    Options that override settings apply to this call only, also when deciding what is due.
    """
    names = stage_names(stages)
    given = overrides(scene_threshold, scene_detector, qwen_instruction, use_vpc)
    with open_library(context, given) as opened:
        if names:
            Plan.make(opened.library.graph, opened.settings, names).close()  # rejects unknown stage names
        request = RunRequest(stages=names, retry=retry)
        if force:
            request = request.model_copy(update={"force": frozenset(request.stage_names(opened.library.graph.names))})
        changed = overridden_settings(given)
        if inputs:
            adding = Adding(mode.value if mode else None, retry=retry)
            videos = opened.library.videos
            sources, refused = with_stdin(inputs, known=lambda line: bool(videos.named(line)))
            became, result, code = add_and_run(
                opened, sources, adding, request, refused=refused, output=output, overridden=changed, as_json=as_json
            )
            result |= became
        else:
            result, code = run_and_show(opened, request, output=output, overridden=changed, as_json=as_json)
    if as_json:
        print_json(result)
    finish(code)
