"""Options that several commands share."""

import functools
import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer

from vidpipe.errors import readable

ResultT = TypeVar("ResultT")

#: Options of an earlier script; underscores are accepted in all option names.
_LEGACY = "Legacy options, for this call only"


def _filter_option(name: str, help_text: str, kind: Any = list[str], **settings: Any) -> Any:
    return Annotated[kind | None, typer.Option(name, help=help_text, rich_help_panel="Filters", **settings)]


class ExportFormat(StrEnum):
    """File formats of `vidpipe export`."""

    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"
    hf = "hf"
    webdataset = "webdataset"
    qwen_sft = "qwen-sft"
    kinetics = "kinetics"
    activitynet = "activitynet"
    fiftyone = "fiftyone"
    label_studio = "label-studio"
    otio = "otio"
    edl = "edl"
    webvtt = "webvtt"
    srt = "srt"


class LocalMode(StrEnum):
    """How local files are stored."""

    copy = "copy"
    hardlink = "hardlink"
    reference = "reference"


Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]

DueVideos = Annotated[
    list[str] | None,
    typer.Argument(metavar="VIDEO", help="Hash prefixes, URLs or file names. Default: all due videos."),
]
FileMode = Annotated[
    LocalMode | None,
    typer.Option("--mode", help="How local files are stored: copy (default), hardlink, or reference (left in place)."),
]
Stages = Annotated[
    list[str] | None, typer.Option("--stage", "--stages", help="Run only these stages; repeatable or comma-separated.")
]

Refetch = Annotated[bool, typer.Option("--refetch", help="Download deleted originals that due stages need again.")]
Limit = Annotated[int, typer.Option("--limit", min=0, help="Maximum number of results; 0 means all.")]
Search = Annotated[
    str | None,
    typer.Option("--search", metavar="QUERY", help="Videos that match a search, such as saved:NAME; docs/search.md."),
]

#: Parameter -> (option, what it says in the query language). Several values of a repeatable option are joined by OR if
#: any of them may match.
_FILTER_OPTIONS: dict[str, tuple[Any, str]] = {
    "tag": (_filter_option("--tag", "With this tag; repeatable, all must match."), "tag:"),
    "label": (_filter_option("--label", "With this label; repeatable, all must match."), "label:"),
    "category": (_filter_option("--category", "In this category; repeatable, any may match."), "category:"),
    "min_duration": (_filter_option("--min-duration", "Seconds.", kind=float, min=0), "duration:>="),
    "max_duration": (_filter_option("--max-duration", "Seconds.", kind=float, min=0), "duration:<="),
    "resolution": (_filter_option("--resolution", "SD, HD, Full HD, 1080p, 4K, …, or 1280x720."), "resolution:"),
    "codec": (_filter_option("--codec", "Video codec: h264, hevc, h265, …"), "codec:"),
    "sentiment": (_filter_option("--sentiment", "positive, neutral, negative, 'no basis'."), "sentiment:"),
    "source": (_filter_option("--source", "Part of a URL or file name, from the start of a word."), "source:"),
}
_ALL_MUST_MATCH = ("tag", "label")

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


def with_filters(command: Callable[..., ResultT]) -> Callable[..., ResultT]:
    """Give a command the filter options, and pass them to it as its parameter `filters`: queries that must all hold."""
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def wrapper(*args: Any, **given: Any) -> ResultT:
        chosen = {name: given.pop(name) for name in _FILTER_OPTIONS}
        filters = tuple(
            query for name, values in chosen.items() if values is not None for query in _queries(name, values)
        )
        return command(*args, filters=filters, **given)

    parameters = [one for one in signature.parameters.values() if one.name != "filters"]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, (option, _) in _FILTER_OPTIONS.items()
    ]
    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapper


def _queries(name: str, values: list[str] | float) -> list[str]:
    """Return what the values of a filter option say in the query language."""
    from vidpipe.search.grammar import quoted  # imports tantivy

    start = _FILTER_OPTIONS[name][1]
    if isinstance(values, float):
        return [start + f"{values:.3f}".rstrip("0").rstrip(".")]
    queries = [start + quoted(readable(value)) for value in values]
    return queries if name in _ALL_MUST_MATCH or len(queries) < 2 else [f"({' OR '.join(queries)})"]
