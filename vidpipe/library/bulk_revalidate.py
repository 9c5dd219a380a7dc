"""Storing that results stay as they are under another spec, for many videos in one update.

No lease is needed: the update touches a video only while its entry is exactly the one that was read (every commit gives
it another token), nothing it was made from has changed (that would have marked it as stale) and nobody else holds it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pymongo.collection import Collection

from vidpipe.library.leases import UNLEASED
from vidpipe.library.schema import Document


@dataclass(frozen=True)
class Revalidation:
    """One stage's results that a run found to be the same under `spec`.

    Attributes:
        stage: The stage.
        spec: The spec under which they are current now.
        run_id: The run that found it.
        run_began: When that run began.
        seen: sha256 -> token of the last commit, as it was read.
        specs: The specs that the entries had.
        seconds: Time spent on each.
        token: The token of this revalidation, as a commit has one.
    """

    stage: str
    spec: str
    run_id: str
    run_began: datetime
    seen: dict[str, str]
    specs: Sequence[str]
    seconds: float = 0.0
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:16])


def revalidate(videos: Collection[Document], made: Revalidation) -> set[str]:
    """Store `made`, exactly as commits of equal results would; return the videos for which it took effect.

    May be repeated after a lost connection.
    """
    entry = f"stages.{made.stage}"
    as_seen = {
        "_id": {"$in": list(made.seen)},
        f"{entry}.commit": {"$in": list(made.seen.values())},
        f"{entry}.status": "ok",
        f"{entry}.ready": True,
        f"{entry}.stale": False,
        f"{entry}.spec": {"$in": list(made.specs)},
        **UNLEASED,
    }
    values = {
        "spec": made.spec,
        "result_spec": made.spec,
        "commit": made.token,
        "at": datetime.now(UTC),
        "run": made.run_id,
        "run_began": made.run_began,
        "seconds": made.seconds,
    }
    videos.update_many(as_seen, {"$set": {f"{entry}.{name}": value for name, value in values.items()}}, hint="_id_")
    stored = {"_id": {"$in": list(made.seen)}, f"{entry}.commit": made.token}
    return {document["_id"] for document in videos.find(stored, {"_id": 1})}
