"""What a Dagster event says about a video: hashes, figures, links and error messages, never names, URLs or texts.

Dagster's history cannot be edited when a video is forgotten. Messages are phrased without names where they are made;
`anonymous` and `without_identity` are the last guard before they reach Dagster.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import dagster as dg

from vidpipe.operations.services.service_definitions import library_page
from vidpipe.pipeline.partitions import SOURCES_KEY
from vidpipe.settings import Settings
from vidpipe.stages.contract import INGEST, FieldRead, StageError, StageResult
from vidpipe.stages.events import StageEvent
from vidpipe.stages.graph import StageGraph

DATA_VERSION_TAG = "dagster/data_version"
CODE_VERSION_TAG = "dagster/code_version"
#: Dagster marks an asset as "unsynced" unless each materialization names, for every parent, the data version it read
#: and the parent's event; the value NULL means that neither is known and is never out of sync. Dagster compares whole
#: assets, while the library knows per video and field what is due.
_INPUT_TAGS = ("dagster/input_data_version/", "dagster/input_event_pointer/")
_UNKNOWN_INPUT = "NULL"

#: Key figures that are words, but technical ones; all others must be numbers.
_TECHNICAL_TERMS = frozenset({"size", "resolution", "codec", "detector", "model"})
#: Entries of `rereported` events that are kept as they are, or without names.
_WORDS = _TECHNICAL_TERMS | {"work", "stage", "status", "state", "waits_for"}
_MESSAGES = ("error", "what_to_do")
_FIGURES = (
    dg.IntMetadataValue, dg.FloatMetadataValue, dg.BoolMetadataValue, dg.TimestampMetadataValue, dg.PathMetadataValue,
)  # fmt: skip
_MAX_TEXT_CHARS = 2000

#: The fields of a video's document that `identifying_texts` reads, as a MongoDB projection.
IDENTIFYING_FIELDS = {
    "ingest.names": 1, "ingest.urls": 1, "ingest.titles": 1, "ingest.path": 1, "raw_video.path": 1,
}  # fmt: skip
#: What the runner puts before a stage's message; an event has both already.
_PREFIX = re.compile(r"^[^\n]{0,1000}? \((?P<id>[0-9a-f]{12})\), stage \w+: ")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>]+", re.IGNORECASE)
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_URL_SAFE = "/:?&=#%+@,;~"
_MIN_CHARS = 2


def parents(graph: StageGraph, stage: str) -> tuple[str, ...]:
    """Return the assets that the stage's asset waits for.

    What it reads optionally is not among them: Dagster would skip the stage in a run in which that makes no result.
    """
    reads_ingest = any(FieldRead.parse(name).stage == INGEST for name in graph[stage].reads)
    return (*((SOURCES_KEY,) if reads_ingest else ()), *graph.upstream(stage))


def materialization(event: StageEvent, settings: Settings, graph: StageGraph) -> dg.AssetMaterialization:
    """Build the materialization for a `computed` or `current` event, whose `result` may be missing."""
    computed = event.state == "computed"
    metadata: dict[str, Any] = _figures(event.result, settings) if event.result is not None else {}
    metadata |= _links(event.sha256, settings, picture="thumbnail" in metadata)
    metadata["work"] = "computed" if computed else "cached"
    if computed:
        metadata |= {"seconds": round(event.seconds, 3), "changed": event.changed}
    tags = {DATA_VERSION_TAG: event.data_version, CODE_VERSION_TAG: event.code_version}
    tags |= {prefix + parent: _UNKNOWN_INPUT for parent in parents(graph, event.stage) for prefix in _INPUT_TAGS}
    return dg.AssetMaterialization(
        asset_key=event.stage,
        partition=event.sha256,
        description=f"Video {event.sha256[:12]}: {metadata['work']}",
        metadata=metadata,
        tags={name: value for name, value in tags.items() if value},
    )


def observation(event: StageEvent, error: StageError, **metadata: Any) -> dg.AssetObservation:
    """Build the observation that explains why a partition has no result.

    Args:
        event: The outcome of the video and stage.
        error: The reason and the hint, without the video's names.
        **metadata: More entries; None is left out.
    """
    entries = {
        "error": error.message[:_MAX_TEXT_CHARS], "what_to_do": error.hint[:_MAX_TEXT_CHARS], "stage": event.stage,
        **metadata,
    }  # fmt: skip
    return dg.AssetObservation(
        asset_key=event.stage,
        partition=event.sha256,
        description=f"Video {event.sha256[:12]}: {event.state}",
        metadata={name: value for name, value in entries.items() if value not in (None, "")},
    )


def rereported(
    event: dg.AssetMaterialization | dg.AssetObservation, at: float, settings: Settings
) -> dg.AssetMaterialization | dg.AssetObservation:
    """Return an event of the history for reporting it once more, outside its run.

    Names, texts and pictures that earlier versions of vidpipe wrote into events are left out.

    Args:
        event: A materialization or observation of one partition.
        at: When it was reported first, in seconds since 1970.
        settings: Those of the home.
    """
    sha256 = event.partition or ""
    name = event.metadata.get("file")
    names = [name.text] if isinstance(name, dg.TextMetadataValue) and name.text else []
    metadata: dict[str, Any] = {"reported_at": dg.MetadataValue.timestamp(at)}
    for key, value in event.metadata.items():
        if isinstance(value, dg.TextMetadataValue) and key in _MESSAGES:
            metadata[key] = without_identity(value.text or "", sha256, names, settings)
        elif isinstance(value, _FIGURES) or key in _WORDS:
            metadata[key] = value
    if "video_page" in event.metadata:  # at its present address
        metadata |= _links(sha256, settings, picture="picture" in event.metadata)
    outcome = _text(event.metadata, "work") or _text(event.metadata, "status") or "observed"
    return type(event)(
        asset_key=event.asset_key,
        partition=event.partition,
        description=f"Video {sha256[:12]}: {outcome}",
        metadata=metadata,
        tags=event.tags,
    )


def _text(metadata: Mapping[str, Any], key: str) -> str:
    value = metadata.get(key)
    return (value.text or "") if isinstance(value, dg.TextMetadataValue) else ""


def _links(sha256: str, settings: Settings, *, picture: bool) -> dict[str, Any]:
    """Return the links to the library page, and the thumbnail as it shows it."""
    page = library_page(settings)
    shown = dg.MetadataValue.md(f"![Thumbnail]({page}/api/v1/videos/{sha256}/thumbnail)")
    return {"video_page": dg.MetadataValue.url(f"{page}/videos/{sha256}"), **({"picture": shown} if picture else {})}


def _figures(result: StageResult, settings: Settings) -> dict[str, Any]:
    figures: dict[str, Any] = {
        name: value
        for name, value in result.key_figures().items()
        if isinstance(value, int | float) or (name in _TECHNICAL_TERMS and value)
    }
    thumbnail = result.thumbnail()
    if thumbnail is not None:
        figures["thumbnail"] = dg.MetadataValue.path(settings.resolve(thumbnail))
    return figures


def identifying_texts(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield names, titles, URLs and paths of a video, given (part of) its document."""
    ingest = document.get("ingest") or {}
    yield from ingest.get("titles") or ()
    for url in ingest.get("urls") or ():
        yield url
        if (host := _host(url)) and host not in _LOCAL_HOSTS:
            yield host
    for name in ingest.get("names") or ():
        yield from (name, PurePath(name).stem)
    for path in (ingest.get("path"), (document.get("raw_video") or {}).get("path")):
        if path:
            yield from (path, PurePath(path).name)
            if PurePath(path).is_absolute():  # referenced where the user keeps it
                yield str(PurePath(path).parent)


def without_identity(text: str, sha256: str, texts: Iterable[str], settings: Settings) -> str:
    """Replace what identifies a video in a message.

    Args:
        text: The message.
        sha256: The video's id, whose first 12 digits replace its names.
        texts: Names, titles, URLs and paths (see `identifying_texts`).
        settings: Paths below the home become relative, because the home's own path may name its user.

    Returns:
        The message with the texts replaced by the id, and URLs of other machines by "[URL]".
    """
    prefix = _PREFIX.match(text)
    if prefix is not None and sha256.startswith(prefix["id"]):
        text = text[prefix.end() :]
    text = text.replace(f"{settings.home}/", "")
    replacement = f"video {sha256[:12]}"
    text = text.replace(replacement, sha256)  # so that a name that is part of the id or "video" leaves it whole
    forms = {form for known in texts for form in (known, unquote(known), quote(known), quote(known, safe=_URL_SAFE))}
    urls = {form for form in forms if "://" in form}
    text = without_urls(_replace(text, urls, sha256))
    return _replace(text, forms - urls, sha256).replace(sha256, replacement)


def without_urls(text: str) -> str:
    """Replace each URL by "[URL]", except those of this machine, such as a local model's."""
    return _URL.sub(lambda match: match[0] if _host(match[0]) in _LOCAL_HOSTS else "[URL]", text)


def anonymous(error: StageError, document: Mapping[str, Any], settings: Settings) -> StageError:
    """Return the error without what identifies its video (see `without_identity`).

    Args:
        error: As the stage raised it, or as it is stored.
        document: The video's document with `_id` and IDENTIFYING_FIELDS.
        settings: Those of the home.
    """
    texts = tuple(identifying_texts(document))
    message, hint = (without_identity(text, document["_id"], texts, settings) for text in (error.message, error.hint))
    return StageError(message, hint, transient=error.transient)


def _replace(text: str, known: Iterable[str], replacement: str) -> str:
    for form in sorted((form for form in known if len(form) >= _MIN_CHARS), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", replacement, text, flags=re.IGNORECASE)
    return text


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
