"""vidpipe run: brings videos up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from vidpipe.cli.call import opened
from vidpipe.cli.options import (
    FileMode,
    Json,
    Output,
    QwenInstruction,
    SceneDetector,
    SceneThreshold,
    Stages,
    UseVpc,
    overrides,
    stage_names,
    stand_in,
)
from vidpipe.cli.output import print_json


def run(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VIDEO|URL|FILE]...",
            help="Videos of the library (hash prefixes, names, URLs), or what `vidpipe add` takes: URLs, files, "
            "folders, lists, - for stdin. None: all that is due.",
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
    """Bring videos up to date: only what is due is computed. One video's failure never stops the others.

    URLs and files that are not in the library are added first. A path that exists is that file, folder or list, also
    where a video of the library has the same name; its video where the file is unchanged since it was added. Anything
    else names a video of the library, or is a URL to download.

    Options that are settings count for this call: what is due, and what is current, is judged under them.
    """
    from vidpipe.cli.adding import add_and_run, with_stdin
    from vidpipe.cli.running import finish, run_and_show
    from vidpipe.cli.work import Adding
    from vidpipe.runner.plan import Plan
    from vidpipe.runner.request import RunRequest

    names = stage_names(stages)
    given = overrides(scene_threshold, scene_detector, qwen_instruction, use_vpc)
    with opened(context, given) as library:
        if names:
            Plan.make(library.library.graph, library.settings, names).close()  # names that are no stage's end here
        request = RunRequest(stages=names, retry=retry)
        if force:
            request = request.model_copy(update={"force": frozenset(request.stage_names(library.library.graph.names))})
        changed = stand_in(given)
        if inputs:
            adding = Adding(mode.value if mode else None, retry=retry)
            videos = library.library.videos
            sources, refused = with_stdin(inputs, known=lambda line: bool(videos.named(line)))
            became, result, code = add_and_run(
                library, sources, adding, request, refused=refused, output=output, overridden=changed, as_json=as_json
            )
            result |= became
        else:
            result, code = run_and_show(library, request, output=output, overridden=changed, as_json=as_json)
    if as_json:
        print_json(result)
    finish(code)
