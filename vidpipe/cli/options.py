"""Options that several commands share."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar

import typer

from vidpipe.errors import readable

ResultT = TypeVar("ResultT")

_SPAN = re.compile(r"(\d{1,6}(?:\.\d+)?)\s*([hdwmy])", re.IGNORECASE)
_UNIT_DAYS = {"h": 1 / 24, "d": 1, "w": 7, "m": 30, "y": 365}

#: Options of an earlier script; underscores are accepted in all option names.
_LEGACY = "Legacy options, for this call only"


def _filter_option(name: str, help_text: str, kind: Any = list[str], **settings: Any) -> Any:
    return Annotated[kind | None, typer.Option(name, help=help_text, rich_help_panel="Filters", **settings)]


def _legacy_option(name: str, help_text: str, kind: Any = str, **settings: Any) -> Any:
    return Annotated[kind | None, typer.Option(name, help=help_text, rich_help_panel=_LEGACY, **settings)]


Video = Annotated[str, typer.Argument(metavar="VIDEO", help="A hash prefix, URL or file name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

FileMode = Annotated[
    Literal["copy", "hardlink", "reference"] | None,
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

#: Parameter -> (option, the setting that it replaces in this call).
_OVERRIDES: dict[str, tuple[Any, str]] = {
    "scene_threshold": (
        _legacy_option(
            "--scene-threshold",
            "[SceneDetection] DefaultThreshold. On the scale of PySceneDetect's content detector (27), which it "
            "selects unless another Detector is set.",
            kind=float,
        ),
        "scene_detection.default_threshold",
    ),
    "scene_detector": (
        _legacy_option(
            "--scene-detector", "[SceneDetection] Detector; ffmpeg for thresholds such as 0.3.", metavar="NAME"
        ),
        "scene_detection.detector",
    ),
    "qwen_instruction": (
        _legacy_option("--qwen-instruction", "[QwenVL] DefaultInstruction."), "qwen_vl.default_instruction"
    ),
    "use_vpc": (_legacy_option("--use-vpc/--no-use-vpc", "[QwenVL] UseVpc.", kind=bool), "qwen_vl.use_vpc"),
}  # fmt: skip
Output = _legacy_option(
    "--output", "Export the results afterwards: to a .jsonl, .csv or .parquet file, or a folder of .json files."
)


def time_span(text: str) -> timedelta | None:
    """Return the duration that a text such as 24h, 7d, 4w, 6m or 1y names; None if it names none."""
    found = _SPAN.fullmatch(text.strip())
    return timedelta(days=float(found[1]) * _UNIT_DAYS[found[2].lower()]) if found else None


def stage_names(given: list[str] | None) -> list[str] | None:
    """Return the names given with `Stages`; None means all."""
    return [name.strip() for part in given or () for name in part.split(",") if name.strip()] or None


def overridden_settings(overrides: Mapping[str, object]) -> frozenset[str]:
    """Return the settings that affect results and that options of this call replace."""
    return frozenset(name for name, value in overrides.items() if value is not None and name != "qwen_vl.use_vpc")


def with_overrides(command: Callable[..., ResultT]) -> Callable[..., ResultT]:
    """Give a command the legacy options, and pass them to it as its parameter `overrides`: setting -> value or None."""

    def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
        return {_OVERRIDES[name][1]: value for name, value in given.items()}

    return _with_options(command, _OVERRIDES, "overrides", settings_of)


def with_filters(command: Callable[..., ResultT]) -> Callable[..., ResultT]:
    """Give a command the filter options, and pass them to it as its parameter `filters`: queries that must all hold."""

    def queries_of(given: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(query for name, values in given.items() if values is not None for query in _queries(name, values))

    return _with_options(command, _FILTER_OPTIONS, "filters", queries_of)


def _with_options(
    command: Callable[..., ResultT],
    options: Mapping[str, tuple[Any, str]],
    parameter: str,
    convert: Callable[[Mapping[str, Any]], Any],
) -> Callable[..., ResultT]:
    """Return the command with further options, of which it receives what `convert` makes of their values."""
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def wrapper(*args: Any, **given: Any) -> ResultT:
        chosen = convert({name: given.pop(name) for name in options})
        return command(*args, **given, **{parameter: chosen})

    parameters = [one for one in signature.parameters.values() if one.name != parameter]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, (option, _) in options.items()
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
