"""What a materialisation shows on Dagster's page: thumbnail, key figures, seconds, computed or cached."""

from __future__ import annotations

import base64
import io
import logging
from typing import Any

import dagster as dg
from PIL import Image

from vidpipe.pipeline.partitions import SOURCES_KEY
from vidpipe.settings import Settings
from vidpipe.stages.contract import INGEST, FieldRead, StageError, StageEvent, StageResult
from vidpipe.stages.graph import StageGraph

log = logging.getLogger(__name__)

_THUMBNAIL_WIDTH = 160
_LONGEST_TEXT = 2000

DATA_VERSION_TAG = "dagster/data_version"
CODE_VERSION_TAG = "dagster/code_version"
_NOT_TOLD = "NULL"


def parents(graph: StageGraph, stage: str) -> tuple[str, ...]:
    """The assets that the stage's asset depends on."""
    reads_ingest = any(FieldRead.parse(name).stage == INGEST for name in graph[stage].reads)
    return (*((SOURCES_KEY,) if reads_ingest else ()), *graph.upstream(stage))


def materialization(event: StageEvent, settings: Settings, graph: StageGraph) -> dg.AssetMaterialization:
    """The materialisation that tells of a `computed` or `current` event; its `result` may be missing.

    Its inputs are tagged as not known to Dagster, which then calls nothing "unsynced": it would go by whole assets,
    where the library knows field by field what is due.
    """
    metadata: dict[str, Any] = {}
    if event.result is not None:
        picture = _thumbnail(event.result, settings)
        if picture is not None:
            metadata["thumbnail"] = picture
        metadata.update(
            {name: _plain(value) for name, value in event.result.key_figures().items() if value is not None}
        )
    metadata["file"] = event.name
    metadata["work"] = "computed" if event.state == "computed" else "cached"
    if event.state == "computed":
        metadata["seconds"] = round(event.seconds, 3)
        metadata["changed"] = event.changed
    tags = {DATA_VERSION_TAG: event.data_version, CODE_VERSION_TAG: event.code_version}
    for parent in parents(graph, event.stage):
        tags[f"dagster/input_data_version/{parent}"] = _NOT_TOLD
        tags[f"dagster/input_event_pointer/{parent}"] = _NOT_TOLD
    return dg.AssetMaterialization(
        asset_key=event.stage,
        partition=event.sha256,
        description=f"{event.name}: {metadata['work']}",
        metadata=metadata,
        tags={name: value for name, value in tags.items() if value},
    )


def observation(event: StageEvent, error: StageError, **known: Any) -> dg.AssetObservation:
    """What a partition's page shows of a stage that gave no result: why, and what to do.

    known: more of it by name; what is None is left out
    """
    metadata = {
        "error": _plain(error.message), "what_to_do": _plain(error.hint), "file": event.name, "stage": event.stage,
        **known,
    }  # fmt: skip
    return dg.AssetObservation(
        asset_key=event.stage,
        partition=event.sha256,
        description=f"{event.name or event.sha256[:12]}: {event.state}",
        metadata={name: value for name, value in metadata.items() if value not in (None, "")},
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " …"


def _thumbnail(result: StageResult, settings: Settings) -> dg.MarkdownMetadataValue | None:
    """The result's thumbnail as a picture inside the text: Dagster's server does not reach files."""
    path = result.thumbnail()
    if path is None:
        return None
    try:
        with Image.open(settings.resolve(path), formats=("JPEG",)) as image:
            image.draft("RGB", (_THUMBNAIL_WIDTH, _THUMBNAIL_WIDTH))
            image.thumbnail((_THUMBNAIL_WIDTH, _THUMBNAIL_WIDTH))
            small = io.BytesIO()
            image.convert("RGB").save(small, "JPEG", quality=70)
    except (OSError, ValueError) as error:
        log.warning("the thumbnail %s cannot be shown: %s", path, error)
        return None
    encoded = base64.b64encode(small.getvalue()).decode("ascii")
    return dg.MetadataValue.md(f"![thumbnail](data:image/jpeg;base64,{encoded})")
