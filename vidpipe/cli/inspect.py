"""vidpipe inspect: the stages on one file or URL, without a library."""

import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer

from vidpipe.cli.context import command_context
from vidpipe.cli.interrupt import TEMPORARY, stoppable
from vidpipe.cli.options import Json, Stages, stage_names
from vidpipe.cli.output import print_json
from vidpipe.cli.progress import RunDisplay
from vidpipe.cli.show import show_view
from vidpipe.runner.single_video import inspect_video
from vidpipe.stages.registry import build_graph


def inspect(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="A video file, a URL, or - for a video on stdin.")],
    *,
    stages: Stages = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FOLDER", help="Keep thumbnails and frame packs here.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Show what the stages find in one file or URL, without a library.

    It needs no home, no MongoDB and no Dagster, and leaves nothing on the disk. The settings and rules are those of the
    home, if there is one; otherwise the defaults. The JSON is that of `vidpipe show`, with the errors by stage.
    """
    with tempfile.TemporaryDirectory(prefix="vidpipe-", ignore_cleanup_errors=True) as name:
        TEMPORARY.append(name)
        folder = Path(name).resolve()
        kept = {"paths.processed_directory": keep.absolute()} if keep else {}
        settings = command_context(context).load(kept, standalone=folder).settings
        if source == "-":
            settings.media_directory.mkdir()
            source = str(settings.media_directory / "stdin")
            with open(source, "wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        graph, names = build_graph(settings), stage_names(stages)
        with RunDisplay(names or graph.names, 1) as display:
            found = stoppable(
                lambda stop: inspect_video(source, settings, graph, display, cancelled=stop, stages=names), display.say
            )
    if as_json:
        print_json(found)
    else:
        show_view(defaultdict(list, found))
    return 1 if found["errors"] else 0
