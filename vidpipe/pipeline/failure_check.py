"""The asset check `videos_succeeded`: red while the stage has failed videos, which its metadata lists.

In a run over partitions a failed video is also a failed partition. A run over a list of videos plans no partitions, so
there this check is what shows a failure.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.pipeline.event_privacy import IDENTIFYING_FIELDS, anonymous
from vidpipe.stages.contract import StageError

CHECK_NAME = "videos_succeeded"
DESCRIPTION = "No video has failed in this stage; lists those that have."
#: Each evaluation stays in Dagster's history, so the list and its messages are bounded.
_MAX_LISTED = 1000
_MAX_MESSAGE_CHARS = 200


def evaluate_failures(library: Library, stage: str) -> dg.AssetCheckEvaluation:
    """Evaluates the check of one stage over the whole library.

    Args:
        library: The library; the query uses the stage's index.
        stage: Name of the stage, also of its asset.

    Returns:
        The evaluation. Its metadata holds `failed` (number of videos) and `videos` (hash -> error message).
    """
    videos = library.collections["videos"]
    failed = {f"stages.{stage}.status": {"$in": ["failed", "quarantined"]}}
    count = library.retry(lambda: videos.count_documents(failed))
    fields = {**IDENTIFYING_FIELDS, f"stages.{stage}.error": 1}
    rows = library.retry(lambda: list(islice(videos.find(failed, fields), _MAX_LISTED))) if count else []
    metadata: dict[str, Any] = {"failed": count}
    if rows:
        messages = {}
        for row in rows:
            error = row["stages"][stage].get("error") or {}
            safe = anonymous(StageError(error.get("message", ""), error.get("hint", "")), row, library.settings)
            messages[row["_id"]] = str(safe)[:_MAX_MESSAGE_CHARS]
        metadata["videos"] = dg.MetadataValue.json(messages)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(stage),
        check_name=CHECK_NAME,
        passed=not count,
        description=f"{count:,} videos have failed." if count else "No video has failed.",
        metadata=metadata,
        severity=dg.AssetCheckSeverity.ERROR,
        blocking=False,
    )
