"""What one Dagster event says of a video: hashes, figures, links and error messages, never names or texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from vidpipe.pipeline.event_privacy import without_identity
from vidpipe.pipeline.partitions import SOURCES_KEY
from vidpipe.settings import Settings
from vidpipe.stages.contract import INGEST, FieldRead, StageError, StageEvent, StageResult
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


def parents(graph: StageGraph, stage: str) -> tuple[str, ...]:
    """Returns the assets that the stage's asset depends on."""
    reads_ingest = any(FieldRead.parse(name).stage == INGEST for name in graph[stage].reads)
    return (*((SOURCES_KEY,) if reads_ingest else ()), *graph.upstream(stage))


def materialization(event: StageEvent, settings: Settings, graph: StageGraph) -> dg.AssetMaterialization:
    """Builds the materialization for a `computed` or `current` event, whose `result` may be missing."""
    computed = event.state == "computed"
    metadata: dict[str, Any] = _figures(event.result, settings) if event.result is not None else {}
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
    """Builds the observation that explains why a partition has no result.

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
    """Returns an event of the history for reporting it once more, outside its run.

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
