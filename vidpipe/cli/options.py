"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from vidpipe.library.queries.search import Filters

_FILTERS = "Filters"
#: Options of an earlier script; underscores are accepted in all option names.
_LEGACY = "Legacy options, for this call only"


class ExportFormat(StrEnum):
    """File formats of `vidpipe export`."""

    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


class LocalMode(StrEnum):
    """How local files are stored."""

    copy = "copy"
    hardlink = "hardlink"
    reference = "reference"


Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]

DueVideos = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VIDEO]...", help="Hash prefixes, URLs or file names. Default: all due videos."),
]
FileMode = Annotated[
    LocalMode | None,
    typer.Option("--mode", help="How local files are stored: copy (default), hardlink, or reference (left in place)."),
]
Stages = Annotated[
    list[str] | None, typer.Option("--stage", "--stages", help="Run only these stages; repeatable or comma-separated.")
]

Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="With this tag; repeatable, all must match.", rich_help_panel=_FILTERS)
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", help="With this label; repeatable, all must match.", rich_help_panel=_FILTERS),
]
Categories = Annotated[
    list[str] | None,
    typer.Option("--category", help="In this category; repeatable, any may match.", rich_help_panel=_FILTERS),
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
        "--scene-threshold", rich_help_panel=_LEGACY,
        help="[SceneDetection] DefaultThreshold. On the scale of PySceneDetect's content detector (27), which it "
        "selects unless another Detector is set.",
    ),
]  # fmt: skip
SceneDetector = Annotated[
    str | None,
    typer.Option(
        "--scene-detector", metavar="NAME", rich_help_panel=_LEGACY,
        help="[SceneDetection] Detector; ffmpeg for thresholds such as 0.3.",
    ),
]  # fmt: skip
QwenInstruction = Annotated[
    str | None, typer.Option("--qwen-instruction", help="[QwenVL] DefaultInstruction.", rich_help_panel=_LEGACY)
]
UseVpc = Annotated[
    bool | None, typer.Option("--use-vpc/--no-use-vpc", help="[QwenVL] UseVpc.", rich_help_panel=_LEGACY)
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", rich_help_panel=_LEGACY,
        help="Export the results afterwards: to a .jsonl, .csv or .parquet file, or a directory of .json files.",
    ),
]  # fmt: skip


def stage_names(given: list[str] | None) -> list[str] | None:
    """Return the names given with `Stages`; None means all."""
    return [name.strip() for part in given or () for name in part.split(",") if name.strip()] or None


def overrides(
    scene_threshold: float | None, scene_detector: str | None, qwen_instruction: str | None, use_vpc: bool | None
) -> dict[str, float | str | bool | None]:
    """Return the options as settings; None for options not given."""
    return {
        "scene_detection.default_threshold": scene_threshold,
        "scene_detection.detector": scene_detector,
        "qwen_vl.default_instruction": qwen_instruction,
        "qwen_vl.use_vpc": use_vpc,
    }


def overridden_settings(given: Mapping[str, object]) -> frozenset[str]:
    """Return the settings that affect results and that options of `overrides` replace."""
    return frozenset(name for name, value in given.items() if value is not None and name != "qwen_vl.use_vpc")


def make_filters(**given: Any) -> Filters:
    """Return `Filters` of the given options. Lists become tuples; None keeps the default."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None
    }
    return Filters(**values)
