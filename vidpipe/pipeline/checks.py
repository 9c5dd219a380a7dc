"""Asset checks, one result a video: on a partition from the asset's page, or for any list of videos by the job verify.

A check function that Dagster calls gives one result for a whole run. So the results are logged one by one, each with
its partition; the page shows the latest of each.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from vidpipe.library.states import chunked
from vidpipe.pipeline.check_rules import CHECKS, Check, Found
from vidpipe.pipeline.events import EventLog, StepContext
from vidpipe.pipeline.execution import Session
from vidpipe.pipeline.partitions import VIDEOS, add_videos
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.stages.graph import StageGraph

_MOST_LISTED = 20
_WINDOW = 50


class VerifyConfig(dg.Config):
    keys: list[str] = Field(default_factory=list, description="sha256 of the videos; empty: all")
    checks: list[str] = Field(default_factory=list, description="names of the checks; empty: all")


def checks_of(graph: StageGraph) -> list[Check]:
    return [check for check in CHECKS if check.stage in graph]


def build_checks(graph: StageGraph) -> list[dg.AssetChecksDefinition]:
    return [_check_definition(check, graph) for check in checks_of(graph)]


def _check_definition(check: Check, graph: StageGraph) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=check.stage, name=check.name, description=check.description, partitions_def=VIDEOS, blocking=False
    )
    def check_video(context: dg.AssetCheckExecutionContext, library: LibraryResource) -> dg.AssetCheckResult:
        step = context.op_execution_context
        with Session.begin(step, library, graph) as session:
            evaluations = list(_evaluate(session, [check], [step.partition_key]))
        if not evaluations:
            sentence = f"{check.stage} has no result for this video."
            return dg.AssetCheckResult(passed=False, description=sentence, severity=dg.AssetCheckSeverity.WARN)
        (evaluation,) = evaluations
        return dg.AssetCheckResult(
            passed=evaluation.passed, description=evaluation.description, metadata=evaluation.metadata
        )

    return check_video


def verify_job(graph: StageGraph) -> dg.JobDefinition:
    """Checks any list of videos. The run fails where a check failed, after all are done."""

    @dg.op(name="verify_videos", description="Runs the checks over each video.")
    def verify_videos(context: dg.OpExecutionContext, config: VerifyConfig, library: LibraryResource) -> None:
        chosen = [check for check in checks_of(graph) if not config.checks or check.name in config.checks]
        unknown = set(config.checks) - {check.name for check in checks_of(graph)}
        if unknown:
            raise dg.Failure(f"There is no check called {', '.join(sorted(unknown))}.", allow_retries=False)
        with Session.begin(context, library, graph) as session:
            _verify(context, session, chosen, config.keys)

    @dg.job(
        name="verify",
        description="Checks what is stored of any list of videos, or of all; reads every stored file.",
        executor_def=dg.in_process_executor,
    )
    def verify() -> None:
        verify_videos()

    return verify


def _verify(context: StepContext, session: Session, checks: Sequence[Check], keys: Sequence[str]) -> None:
    videos = keys or [row["_id"] for row in session.library.collections["videos"].find({}, {"_id": 1}).sort("_id", 1)]
    add_videos(context.instance, videos)
    failures: list[str] = []
    with EventLog[dg.AssetCheckEvaluation](context, list) as log:
        for evaluation in _evaluate(session, checks, videos):
            log.put(evaluation)
            if not evaluation.passed:
                failures.append(f"{evaluation.partition}, {evaluation.check_name}: {evaluation.description}")
    if failures:
        more = [f"… and {len(failures) - _MOST_LISTED} more."] if len(failures) > _MOST_LISTED else []
        sentences = [f"{len(failures)} checks failed.", *failures[:_MOST_LISTED], *more]
        raise dg.Failure("\n".join(sentences), allow_retries=False)


def _evaluate(session: Session, checks: Sequence[Check], videos: Iterable[str]) -> Iterator[dg.AssetCheckEvaluation]:
    """One evaluation for each video and check whose stage has a result."""
    library = session.library
    for chunk in chunked(videos, _WINDOW):
        scenes = library.videos.scenes(chunk)
        for document in library.collections["videos"].find({"_id": {"$in": chunk}}):
            for check in checks:
                if document["stages"][check.stage].get("status") != "ok":
                    continue
                found = check.function(document, scenes.get(document["_id"], ()), session.settings)
                yield _evaluation(check, document["_id"], found)


def _evaluation(check: Check, video: str, found: Found) -> dg.AssetCheckEvaluation:
    metadata: dict[str, Any] = dict(found.figures)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(check.stage),
        check_name=check.name,
        passed=found.passed,
        description=found.sentence,
        metadata=metadata,
        severity=dg.AssetCheckSeverity.ERROR,
        blocking=False,
        partition=video,
    )
