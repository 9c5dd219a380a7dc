"""Copies are described once: the model looks at one of a group, and the others share what it says of the whole video.

The shared description is a fact of the copy (`ingest.shared_description`), which the stage descriptions returns instead
of asking. It is withdrawn when the group, the decision on it or the original is gone, and replaced when the original is
described again; the copy is due then.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from vidpipe.library.annotations import Annotations
from vidpipe.library.library import Library
from vidpipe.library.schema import Document
from vidpipe.library.states import classify
from vidpipe.library.videos import chunked, read_result
from vidpipe.runner.due import Selection
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.runner.runner import Runner
from vidpipe.stages.contract import INGEST
from vidpipe.stages.descriptions import SHARED
from vidpipe.stages.results import Descriptions

_STAGE = "descriptions"
#: Of a description, what belongs to the frames that the model saw and to its answers.
_OWN = {"found": "", "scenes": (), "wrong": (), "answers": ()}
_OWN |= dict.fromkeys(("asked", "reused", "prompt_tokens", "output_tokens"), 0)  # type: ignore[arg-type]


def shares(plan: Plan) -> bool:
    """Whether a run of `plan` describes copies once."""
    return _STAGE in plan.specs and SHARED in plan.graph[_STAGE].optional_reads


def run_in_turns(runner: Runner, request: RunRequest) -> RunReport:
    """Run `request`; if copies are described once, those of a video that is described in this run come after it."""
    library, plan, report, began = runner.library, runner.plan, runner.report, time.monotonic()
    if not shares(plan):
        return runner.run(request)
    first, later = (
        replace(plan, stages=stages, specs={stage.name: plan.specs[stage.name] for stage in stages})
        for prepares in (True, False)
        for stages in (tuple(stage for stage in plan.stages if (stage.job == "prepare") == prepares),)
    )

    def due(part: Plan) -> set[str]:
        if request.videos is None:
            return {*Selection(library, part, request).due()} if part.stages else set()
        return {*request.videos}.difference(report.unknown, report.busy)

    videos = due(first)
    replace(runner, plan=first).run(request)
    groups = copies(library)
    share(library, plan, groups)
    pending = due(later)
    while pending and not runner.cancelled.is_set() and _STAGE not in report.problems:
        videos |= pending
        held, _ = share(library, plan, groups, pending)
        turn = request.model_copy(update={"videos": tuple(sorted(pending - held))})
        replace(runner, plan=later).run(turn)
        _, changed = share(library, plan, groups)
        pending = held | (changed if request.videos is None else changed.intersection(request.videos))
    report.videos, report.seconds = len(videos.difference(report.unknown)), time.monotonic() - began
    return report


def copies(library: Library) -> list[tuple[str, ...]]:
    """Compare the fingerprints of the library; return the groups of copies."""
    # these import numpy, which runs without this setting do not need
    from vidpipe.datasets.duplicates.decisions import distinct_pairs
    from vidpipe.datasets.duplicates.groups import groups_of
    from vidpipe.datasets.duplicates.library import find_matches

    distinct = {frozenset((pair.video, pair.other)) for pair in distinct_pairs(library)}
    return groups_of(library.retry(lambda: find_matches(library)), distinct)


def share(
    library: Library, plan: Plan, groups: Sequence[tuple[str, ...]], pending: Collection[str] = ()
) -> tuple[set[str], set[str]]:  # fmt: skip
    """Give copies the descriptions of their originals, and withdraw those that no longer hold.

    Args:
        library: The library.
        plan: A plan with the stage descriptions.
        groups: The groups of copies.
        pending: Videos that are described next.

    Returns:
        Those of `pending` that are to wait for their originals among them; and the videos whose shared description
        has changed.
    """
    members, find = {video for group in groups for video in group}, library.collections["videos"].find
    wanted: list[Document] = [{SHARED: {"$exists": True}}, *({"_id": {"$in": ids}} for ids in chunked(members))]
    fields = {f"stages.{_STAGE}": 1, "description": 1, SHARED: 1}
    rows = library.retry(lambda: {row["_id"]: row for query in wanted for row in find(query, fields)})
    stored = {video: row.get(INGEST, {}).get("shared_description") for video, row in rows.items()}
    before = {video: Descriptions.model_validate(said) if said else None for video, said in stored.items()}
    after: dict[str, Descriptions | None] = {**before, **dict.fromkeys(rows.keys() - members)}
    held: set[str] = set()
    for group in groups:
        original = _original(library, plan, [rows[video] for video in group if video in rows])
        is_current = original is not None and _is_current(plan, original)
        waits = original is not None and original["_id"] in pending and not is_current
        said = _shared(plan, original) if original and is_current else None
        for video in rows.keys() & group:
            is_original, known = bool(original) and video == original["_id"], before[video]  # type: ignore[index]
            if is_original or said or (known and known.shared_from not in group):
                after[video] = None if is_original else said
            if waits and not is_original and video in pending:
                held.add(video)
    changed = {video for video, description in after.items() if description != before[video]}
    for some in chunked(sorted(changed)):
        facts = {video: Annotations({"shared_description": after[video]}) for video in some}
        library.videos.annotate(some, lambda facts=facts: facts)  # type: ignore[misc]
    return held, changed


def _original(library: Library, plan: Plan, rows: Sequence[Document]) -> Document | None:
    """Return the copy that is described: one that is already, else the best one of those that do not fail."""
    from vidpipe.datasets.duplicates.library import best_copy, compared_videos

    tried = [row for row in rows if row["stages"][_STAGE].get("status") not in ("failed", "quarantined")]
    own = [row for row in tried if _is_own(row)]
    chosen = [row for row in own if _is_current(plan, row)] or own or tried
    known = compared_videos(library, [row["_id"] for row in chosen])
    best = best_copy(known.values())[0].video if len(known) > 1 else next(iter(known), None)
    return next((row for row in chosen if row["_id"] == best), None)


def _is_own(row: Document) -> bool:
    """Whether a model that sees has looked at this video."""
    description = row.get("description") or {"measured": True}
    return not (description["measured"] or description.get("shared_from"))


def _is_current(plan: Plan, row: Document) -> bool:
    return _is_own(row) and classify(row["stages"][_STAGE], plan.specs[_STAGE]) == "current"


def _shared(plan: Plan, row: Document) -> Descriptions | None:
    said = read_result(plan.graph, _STAGE, row)
    if not isinstance(said, Descriptions):
        return None
    return said.model_copy(update={**_OWN, "model": f"{said.model} (looking at a copy)", "shared_from": row["_id"]})
