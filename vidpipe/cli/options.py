"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vidpipe.library.queries.search import Filters

_FILTERS = "Filters"
#: Names may be written with _ as the older script has them: see `vidpipe.cli.main.dashed`.
_OLDER = "Words of the older script, for this call (with - or _)"


class ExportFormat(StrEnum):
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


class LocalMode(StrEnum):
    copy = "copy"
    hardlink = "hardlink"
    reference = "reference"


Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, for scripts.")]

DueVideos = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VIDEO]...", help="Hash prefixes, URLs or file names. None: all that is due."),
]
FileMode = Annotated[
    LocalMode | None,
    typer.Option("--mode", help="Local files: copied (the default), hard-linked, or left where they are (reference)."),
]
Stages = Annotated[
    list[str] | None,
    typer.Option("--stage", "--stages", help="Only these stages; several, or separated by commas."),
]

Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="Has this tag; several: has them all.", rich_help_panel=_FILTERS)
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", help="Labelled so where it was added; several: with all.", rich_help_panel=_FILTERS),
]
Categories = Annotated[
    list[str] | None, typer.Option("--category", help="In this category; several: in one.", rich_help_panel=_FILTERS)
]
MinDuration = Annotated[float | None, typer.Option("--min-duration", min=0, help="Seconds.", rich_help_panel=_FILTERS)]
MaxDuration = Annotated[float | None, typer.Option("--max-duration", min=0, help="Seconds.", rich_help_panel=_FILTERS)]
Resolutions = Annotated[
    list[str] | None,
    typer.Option("--resolution", help="SD, HD, Full HD, 1080p, 4K, …, or 1280x720.", rich_help_panel=_FILTERS),
]
Codecs = Annotated[
    list[str] | None, typer.Option("--codec", help="Video codec: h264, hevc, h265, …", rich_help_panel=_FILTERS)
]
Sentiments = Annotated[
    list[str] | None,
    typer.Option("--sentiment", help="positive, neutral, negative, 'no basis'.", rich_help_panel=_FILTERS),
]
Sources = Annotated[
    list[str] | None, typer.Option("--source", help="Part of a URL or file name.", rich_help_panel=_FILTERS)
]

SceneThreshold = Annotated[
    float | None,
    typer.Option(
        "--scene-threshold", rich_help_panel=_OLDER,
        help="[SceneDetection] DefaultThreshold. On the scale of PySceneDetect's content detector (27), which it "
        "selects, unless another Detector is set or given.",
    ),
]  # fmt: skip
SceneDetector = Annotated[
    str | None,
    typer.Option(
        "--scene-detector", metavar="NAME", rich_help_panel=_OLDER,
        help="[SceneDetection] Detector; for the older script's --scene_threshold 0.3: ffmpeg.",
    ),
]  # fmt: skip
QwenInstruction = Annotated[
    str | None,
    typer.Option("--qwen-instruction", help="[QwenVL] DefaultInstruction.", rich_help_panel=_OLDER),
]
UseVpc = Annotated[
    bool | None,
    typer.Option("--use-vpc/--no-use-vpc", help="[QwenVL] UseVpc.", rich_help_panel=_OLDER),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", rich_help_panel=_OLDER,
        help="Export the results afterwards: to a .jsonl, .csv or .parquet file, else to a folder, one .json a video.",
    ),
]  # fmt: skip


def stage_names(given: list[str] | None) -> list[str] | None:
    """The names in what `Stages` was given; None: all."""
    return [name.strip() for part in given or () for name in part.split(",") if name.strip()] or None


def overrides(
    scene_threshold: float | None, scene_detector: str | None, qwen_instruction: str | None, use_vpc: bool | None
) -> dict[str, float | str | bool | None]:
    """The options as settings; None where one was not given."""
    return {
        "scene_detection.default_threshold": scene_threshold,
        "scene_detection.detector": scene_detector,
        "qwen_vl.default_instruction": qwen_instruction,
        "qwen_vl.use_vpc": use_vpc,
    }


def stand_in(given: Mapping[str, object]) -> frozenset[str]:
    """The settings that results depend on and that options of `overrides` stand in for."""
    return frozenset(name for name, value in given.items() if value is not None and name != "qwen_vl.use_vpc")


def make_filters(**given: Any) -> Filters:
    """`Filters` of the options that were given. Lists become tuples, None the default."""
    from vidpipe.library.queries.search import Filters

    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None
    }
    return Filters(**values)
