"""Asset checks of results, evaluated per video: with a step's run, or for any list of videos by the job verify.

A result that a check function returns applies to the whole run. So results are reported one by one, each with its
partition; only a run without partitions (Dagster's button for a check) adds one for all videos together.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from vidpipe.library.videos import chunked
from vidpipe.pipeline.execution import StepSession, one_op_job, step_failure
from vidpipe.pipeline.partitions import VIDEOS, VideoPartitions
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.video_checks import (
    CHECKS,
    FAILURE_CHECK_DESCRIPTION,
    FAILURE_CHECK_NAME,
    CheckOutcome,
    VideoCheck,
    evaluate_failures,
)
from vidpipe.runner.rule_changes import rules_problem
from vidpipe.stages.contract import STEPS
from vidpipe.stages.graph import StageGraph

RULES_CHECK = "rules_are_valid"
_MOST_LISTED = 20
_WINDOW = 50
#: About 60 MB.
_MAX_LOGGED = 20_000


class VerifyConfig(dg.Config):
    """The run config of the job verify."""

    keys: list[str] = Field(default_factory=list, description="sha256 of the videos; empty: all")
    checks: list[str] = Field(default_factory=list, description="names of the checks; empty: all")


def checks_of(graph: StageGraph, step: str | None = None) -> list[VideoCheck]:
    """Return the checks whose stage is in the graph, or in one step of it."""
    return [check for check in CHECKS if check.stage in graph and step in (None, graph[check.stage].job)]


class ReadFiles(dg.Config):
    """The run config of a step's checks."""

    read_files: bool = Field(False, description="read whole files also in a run over many videos")


def build_checks(graph: StageGraph) -> list[dg.AssetChecksDefinition]:
    """Return the checks of each step's results, in an op beside the step, and the one for failed videos."""
    return [
        _failure_checks(graph),
        *([_rules_check()] if "tags" in graph else []),
        *(_step_checks(step, checks, graph) for step in STEPS if (checks := checks_of(graph, step))),
    ]


def log_checks_of_failed_step(
    context: dg.OpExecutionContext, session: StepSession, graph: StageGraph, step: str, videos: Sequence[str]
) -> None:
    """Check the results that a failed step has stored.

    Dagster skips the op of the checks after a failed step and would show the checks of all its videos as execution
    errors.
    """
    if not context.job_def.graph.has_node_named(_op_name(step)):
        return
    selected = context.run.asset_check_selection  # None: all
    due = [
        check
        for check in checks_of(graph, step)
        if selected is None or dg.AssetCheckKey(dg.AssetKey(check.stage), check.name) in selected
    ]
    _report_evaluations(context, session, due, videos, read_files=len(videos) == 1)


def _op_name(step: str) -> str:
    return f"check_{step}"


def _failure_checks(graph: StageGraph) -> dg.AssetChecksDefinition:
    """The checks `videos_succeeded`, which runs also report themselves (see `EventReporter`)."""
    specs = [
        dg.AssetCheckSpec(FAILURE_CHECK_NAME, asset=stage.name, description=FAILURE_CHECK_DESCRIPTION)
        for stage in graph
    ]

    @dg.multi_asset_check(name="check_failures", specs=specs, can_subset=True)
    def check_failures(context: dg.AssetCheckExecutionContext, library: LibraryResource) -> Iterator[Any]:
        op = context.op_execution_context
        with StepSession.begin(op, library, graph) as session:
            for key in op.selected_asset_check_keys:
                _log_evaluation(op, evaluate_failures(session.library, key.asset_key.to_user_string()))
        yield from ()

    return check_failures


def _rules_check() -> dg.AssetChecksDefinition:
    @dg.asset_check(name=RULES_CHECK, asset="tags", description="The files in rules/ can be used.")
    def rules_are_valid(library: LibraryResource) -> dg.AssetCheckResult:
        problem = rules_problem(library.settings())
        return dg.AssetCheckResult(passed=not problem, description=problem)

    return rules_are_valid


def rules_evaluation(problem: str) -> dg.AssetCheckEvaluation:
    """Return the same as an event, for a sensor to report."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("tags"), check_name=RULES_CHECK, passed=not problem, description=problem
    )


def _step_checks(step: str, checks: list[VideoCheck], graph: StageGraph) -> dg.AssetChecksDefinition:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # partitioned checks are a preview in Dagster 1.13
        specs = [
            dg.AssetCheckSpec(check.name, asset=check.stage, description=check.description, partitions_def=VIDEOS)
            for check in checks
        ]

    @dg.multi_asset_check(name=_op_name(step), specs=specs, can_subset=True)
    def check_videos(
        context: dg.AssetCheckExecutionContext, config: ReadFiles, library: LibraryResource
    ) -> Iterator[Any]:
        op = context.op_execution_context
        partitioned = op.has_partition_key or op.has_partition_key_range
        chosen = {key.name for key in op.selected_asset_check_keys}
        with StepSession.begin(op, library, graph) as session:
            videos = op.partition_keys if partitioned else _all_videos(session)
            read_files = config.read_files or (partitioned and len(videos) == 1)
            due = [check for check in checks if check.name in chosen]
            failures = _report_evaluations(op, session, due, videos, read_files=read_files)
            if not partitioned:  # Dagster expects a result of the run, beside those of the videos
                for check in due:
                    failed = sum(failure.check_name == check.name for failure in failures)
                    sentence = f"{failed} of {len(videos)} videos failed this check."
                    _log_evaluation(op, _evaluation(check, None, CheckOutcome(not failed, sentence)))
        yield from ()

    return check_videos


def verify_job(graph: StageGraph) -> dg.JobDefinition:
    """Build the job that checks any list of videos; its run fails at the end if a check failed."""

    @dg.op(name="verify_videos", description="Runs the checks over each video.")
    def verify_videos(context: dg.OpExecutionContext, config: VerifyConfig, library: LibraryResource) -> None:
        chosen = [check for check in checks_of(graph) if not config.checks or check.name in config.checks]
        unknown = set(config.checks) - {check.name for check in checks_of(graph)}
        if unknown:
            raise step_failure(f"There is no check called {', '.join(sorted(unknown))}.")
        with StepSession.begin(context, library, graph) as session:
            videos = config.keys or _all_videos(session)
            failed = _report_evaluations(context, session, chosen, videos, read_files=True)
            if failed:
                sentences = [f"{one.partition}, {one.check_name}: {one.description}" for one in failed[:_MOST_LISTED]]
                raise step_failure(f"{len(failed)} checks failed.", sentences, len(failed) - _MOST_LISTED)

    description = "Checks what is stored of any list of videos, or of all; reads every stored file."
    return one_op_job(verify_videos, "verify", description)


def _all_videos(session: StepSession) -> list[str]:
    return [row["_id"] for row in session.library.collections["videos"].find({}, {"_id": 1}).sort("_id", 1)]


def _report_evaluations(
    context: dg.OpExecutionContext,
    session: StepSession,
    checks: Sequence[VideoCheck],
    videos: Sequence[str],
    *,
    read_files: bool,
) -> list[dg.AssetCheckEvaluation]:
    """Check `videos`, log the results and return those that failed.

    Logged events are kept in memory until the step ends, so beyond _MAX_LOGGED only failures are logged, and so of
    videos beyond the limit of partitions. Reporting them outside the run is no way out: there, Dagster takes one
    evaluation per check and partition for ever.
    """
    partitions = VideoPartitions(context.instance, session.library).add(videos)
    failures: list[dg.AssetCheckEvaluation] = []
    for number, evaluation in enumerate(_evaluate(session, checks, videos, read_files)):
        if not evaluation.passed or (number < _MAX_LOGGED and evaluation.partition in partitions):
            _log_evaluation(context, evaluation)
        if not evaluation.passed:
            failures.append(evaluation)
    return failures


def _log_evaluation(context: dg.OpExecutionContext, evaluation: dg.AssetCheckEvaluation) -> None:
    """Log one evaluation of a partitioned check: an AssetCheckResult would apply to all partitions of the run.

    Dagster accepts an evaluation although the annotation of `log_event` omits it.
    """
    context.log_event(evaluation)  # type: ignore[arg-type]


def _evaluate(
    session: StepSession, checks: Sequence[VideoCheck], videos: Iterable[str], read_files: bool
) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield one evaluation for each video and check whose stage has a result."""
    library = session.library
    for chunk in chunked(videos, _WINDOW):
        scenes = library.videos.scenes(chunk)
        for document in library.collections["videos"].find({"_id": {"$in": chunk}}):
            for check in checks:
                if document["stages"][check.stage].get("status") != "ok":
                    continue
                function = check.function if read_files or check.quick is None else check.quick
                found = function(document, scenes.get(document["_id"], ()), session.settings)
                yield _evaluation(check, document["_id"], found)


def _evaluation(check: VideoCheck, video: str | None, found: CheckOutcome) -> dg.AssetCheckEvaluation:
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
