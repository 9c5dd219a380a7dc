"""Does one job of the library page: `python -m vidpipe.pipeline.job_process --home HOME`.

It reads a request (`vidpipe.runner.job_request`) as one JSON line from stdin, where secrets are safe, and writes events
as JSON lines to stdout: {"event": …, "data": {…}}. The last one is `end`, with the state, result and error of the job;
`count` adds to the pieces of work that are known, done and failed. It stops cleanly once stdin ends or SIGTERM arrives:
finished results are stored.
"""

import argparse
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.queries.json_encoding import to_json
from vidpipe.library.sources import ListedSources
from vidpipe.models.questions import add_question, new_question
from vidpipe.runner.asking import Asking, answer_as_json
from vidpipe.runner.job_request import JOB_REQUEST, AddJob, AskJob, ForgetJob, JobRequest, RulesJob, RunJob
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunRequest
from vidpipe.runner.rule_changes import ProposedRules
from vidpipe.settings import Settings, audit, configure_logging, load
from vidpipe.sources.due_sources import requests_by_id
from vidpipe.sources.inputs import Gathered, gather
from vidpipe.sources.records import IngestNote, IngestOutcome, SourceRecord, outcomes_as_json
from vidpipe.sources.source_request import request_for
from vidpipe.stages.events import StageEvent
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.model_answers import VideoAnswers
from vidpipe.stages.registry import build_graph

log = logging.getLogger(__name__)

_PROGRESS_EVERY_S = 0.25
#: A job that is still running this long after it was asked to stop is killed: stored data is consistent at any time.
_STOP_LIMIT_S = 30.0
#: Entries of each list in a result; the page keeps results in memory.
_MOST_LISTED = 1000


@dataclass
class JobEvents:
    """Writes events for the page; an observer of ingests, runs and questions. May be used from any thread.

    Attributes:
        stream: Where to.
        inputs: Id of a source -> the input that it is.
        stages: Number of stages of the run.
        notes: What was noted about inputs.
        answers: What was answered.
        unanswered: Videos without an answer.
    """

    stream: BinaryIO
    inputs: dict[str, str] = field(default_factory=dict)
    stages: int = 0
    notes: list[IngestNote] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    unanswered: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sent_at: dict[tuple[str, str], float] = field(default_factory=dict)

    def send(self, event: str, **data: Any) -> None:
        """Write an event; nobody may be reading any more."""
        with self._lock, suppress(OSError, ValueError):
            self.stream.write(to_json({"event": event, "data": data}) + b"\n")
            self.stream.flush()

    def on_note(self, note: IngestNote) -> None:
        """Keep the note."""
        self.notes.append(note)

    def on_start(self, source: SourceRecord) -> None:
        """Report that a source is being fetched."""
        self.send("source", input=self.inputs.get(source.id, source.url), state="fetching")

    def on_bytes(self, source_id: str, done: int, total: int | None) -> None:
        """Report progress of a transfer."""
        self.send("bytes", input=self.inputs.get(source_id, ""), received=done, total=total)

    def on_outcome(self, outcome: IngestOutcome) -> None:
        """Report what became of a source."""
        source, error = outcome.source, outcome.error
        self.send(
            "source", input=self.inputs.get(source.id, outcome.input) if source else outcome.input, state=outcome.state,
            video=outcome.video, name=(source.file_name if source else None) or outcome.input, error=error,
            hint=outcome.note, transient=outcome.transient, source=source.id if source else None,
        )  # fmt: skip
        self.send("count", done=1, failed=int(error is not None))

    def on_event(self, event: StageEvent) -> None:
        """Report what happened to a video in a stage."""
        error = event.error
        self.send(
            "stage", video=event.sha256, name=event.name, stage=event.stage, state=event.state,
            seconds=round(event.seconds, 3), error=error.message if error else None, hint=error.hint if error else "",
        )  # fmt: skip
        if event.state != "started":
            self._sent_at.pop((event.sha256, event.stage), None)
            done = self.stages if event.state == "busy" else 1
            self.send("count", done=done, failed=int(event.state == "failed"))

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None:
        """Report the progress of a stage, a few times a second."""
        now = time.monotonic()
        if now - self._sent_at.get((sha256, stage), 0.0) >= _PROGRESS_EVERY_S:
            self._sent_at[sha256, stage] = now
            self.send("progress", video=sha256, stage=stage, fraction=round(fraction, 3))

    def on_answers(self, name: str, video: VideoAnswers) -> None:
        """Report the answers about a video."""
        for cell in video.cells:
            self.answers.append(answer_as_json(video.item.sha256, name, cell))
            self.send("answer", **self.answers[-1])
        self.send("count", done=1)

    def on_failure(self, sha256: str, name: str, error: VidpipeError) -> None:
        """Count a video without an answer."""
        self.unanswered.append({"video": sha256, "name": name, "message": error.message, "hint": error.hint})
        self.send("count", done=1, failed=1)


@dataclass
class JobWork:
    """The work of a job.

    Attributes:
        failed: What failed in it, as a sentence; empty: nothing did.
    """

    settings: Settings
    graph: StageGraph
    library: Library
    events: JobEvents
    cancelled: threading.Event
    failed: str = ""

    def do(self, job: JobRequest) -> dict[str, Any]:
        """Do the job and return its result."""
        if isinstance(job, AddJob):
            return self._add(job)
        if isinstance(job, RunJob):
            return self._run(job.request)
        if isinstance(job, RulesJob):
            return self._rules(job)
        return self._ask(job) if isinstance(job, AskJob) else self._forget(job)

    @property
    def _shared(self) -> dict[str, Any]:
        of_library = {"graph": self.graph, "library": self.library, "by": "page"}
        return {"observer": self.events, "cancelled": self.cancelled, **of_library}

    def _add(self, job: AddJob) -> dict[str, Any]:
        from vidpipe.pipeline.ingest import run_ingest  # imports Dagster

        gathered = self._gathered(job)
        self.events.inputs = {request.id: request.given for request in gathered.requests}
        self.events.send("count", total=len(gathered.requests) + len(gathered.problems))
        for request in gathered.requests[:_MOST_LISTED]:
            self.events.send("source", input=request.given, state="waiting")
        for problem in gathered.problems:
            self.events.on_outcome(problem)
        outcomes = run_ingest(self.settings, gathered, labels=job.labels, **self._shared)
        for outcome in outcomes:
            audit("source", **outcome.as_json())
        again = {outcome.input for outcome in outcomes if outcome.transient or outcome.state == "cancelled"}
        for path in job.uploads if outcomes else ():
            if path.name not in again:  # it is in the media store now, or cannot get there
                shutil.rmtree(path.parent, ignore_errors=True)
        videos = tuple(dict.fromkeys(outcome.video for outcome in outcomes if outcome.video))
        result = {**outcomes_as_json(outcomes[:_MOST_LISTED], self.events.notes), "videos": videos}
        if job.process and videos and not self.cancelled.is_set():
            result["run"] = self._run(RunRequest(videos=videos, retry=bool(job.sources)))
        if failed := sum(outcome.error is not None for outcome in outcomes):
            self.failed = f"{failed} of {len(outcomes)} sources could not be added. {self.failed}".strip()
        return result

    def _gathered(self, job: AddJob) -> Gathered:
        gathered = Gathered()
        if job.sources:
            listed = ListedSources(self.library.collections, self.library.sources)
            gathered = requests_by_id(job.sources, self.library.sources, listed, self.settings, listed_only=False)
        for one in job.inputs:
            found = gather([one.url], settings=self.settings)  # several, for a folder of S3
            said: dict[str, Any] = {"labels": tuple(one.labels), "priority": one.priority, "licence": one.licence}
            if len(found.requests) == 1:
                said |= {"title": one.title or None, "segments": tuple(one.segments)}
            gathered.requests += [replace(request, **said) for request in found.requests]
            gathered.problems += found.problems
            gathered.notes += found.notes
        gathered.requests += [replace(request_for(str(path), mode="hardlink"), given=path.name) for path in job.uploads]
        gathered.requests = list({request.id: request for request in gathered.requests}.values())
        return gathered

    def _run(self, request: RunRequest) -> dict[str, Any]:
        from vidpipe.pipeline.in_process_run import run_process

        stages = request.stage_names(self.graph.names)
        self.events.stages = len(stages)
        self.events.send("count", total=len(stages) * len(request.videos or ()))
        report = run_process(self.settings, request, **self._shared)
        if request.stages:  # asked for by name: that they cannot run is an error
            report.problems |= report.unavailable
        result = report.as_json(stages)
        audit("run", **result)
        if report.total("failed"):
            self.failed = f"{report.total('failed')} results failed; the others are stored."
        if report.problems:
            self.failed = " ".join(f"{name} could not run: {error}" for name, error in report.problems.items())
        return result

    def _ask(self, job: AskJob) -> dict[str, Any]:
        question = new_question(job.question, kind=job.form, scope=job.scope, choices=job.choices)
        with closing(Plan.make(self.graph, self.settings)) as plan:
            if job.save:
                add_question(self.settings.resolve(self.settings.rules.questions), question)
            self.events.send("count", total=len(job.videos))
            Asking(self.library, plan, question, self.events, "page").ask(job.videos, self.cancelled)
        answers, failed = self.events.answers[:_MOST_LISTED], self.events.unanswered
        if failed:
            self.failed = f"{len(failed)} of {len(job.videos)} videos have no answer. {failed[0]['message']}"
        return {"question": question.text, "id": question.id, "answers": answers, "failed": failed[:_MOST_LISTED]}

    def _forget(self, job: ForgetJob) -> dict[str, Any]:
        from vidpipe.pipeline.clean_up import forget_videos
        from vidpipe.pipeline.instance import instance

        self.events.send("count", total=len(job.videos))
        with instance(self.settings) as dagster:
            done = forget_videos(self.library, job.videos, dagster, by=job.by, reason=job.reason)
        left = [one.error or "A run is using it: wait until it ends." for one in done if one.state != "forgotten"]
        self.events.send("count", done=len(done), failed=len(left))
        if left:
            self.failed = f"{len(left)} of {len(done)} videos are not removed; repeat this later. {left[0]}"
        return {"videos": [asdict(one) for one in done[:_MOST_LISTED]]}

    def _rules(self, job: RulesJob) -> dict[str, Any]:
        self.events.send("count", total=self.library.videos.count())

        def seen(number: int) -> None:
            self.events.send("count", done=number)

        if job.version:
            proposed = ProposedRules.returning(self.library, self.settings, job.version)
        else:
            proposed = ProposedRules.of_file(self.settings, job.drafts)
        found = job.plan or proposed.preview(self.library, self.graph, self.cancelled, seen)
        if job.kind == "plan" or self.cancelled.is_set():
            return found
        if job.plan:
            proposed.check(found, self.library)
        with closing(Plan.make(self.graph, self.settings)) as plan:
            request = proposed.apply(self.library, plan, "page", found)
        return self._run(request)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the job. Returns the exit code of the process."""
    parser = argparse.ArgumentParser(prog="vidpipe.pipeline.job_process")
    parser.add_argument("--home", type=Path, required=True, help="the folder of config.ini")
    parser.add_argument("--config", type=Path, help="read this file instead of config.ini")
    options = parser.parse_args(arguments)
    events = JobEvents(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # whatever else writes to stdout must not look like an event
    cancelled = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: cancelled.set())
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        events.send("end", state="canceled")
        return 0
    threading.Thread(target=_await_end, args=(cancelled,), daemon=True).start()
    with ThreadPoolExecutor(1, thread_name_prefix="work") as pool:  # the main thread stays free to receive signals
        end = pool.submit(_ended, options.home, options.config, line, events, cancelled).result()
    events.send("end", **end)
    return 0


def _await_end(cancelled: threading.Event) -> None:
    while os.read(0, 1):
        pass
    cancelled.set()
    time.sleep(_STOP_LIMIT_S)
    with suppress(OSError):
        os.killpg(os.getpid(), signal.SIGKILL)


def _ended(
    home: Path, config: Path | None, line: bytes, events: JobEvents, cancelled: threading.Event
) -> dict[str, Any]:
    """Do the job and return how it ended."""
    result, message, hint = None, "", ""
    try:
        settings = load(home, config=config).settings
        configure_logging(settings)
        graph = build_graph(settings)
        with Library.open(settings, graph) as library, library.connection.errors_explained():
            work = JobWork(settings, graph, library, events, cancelled)
            result = work.do(JOB_REQUEST.validate_json(line))
            message = work.failed
    except VidpipeError as error:
        message, hint = error.message, error.hint
    except Exception as error:
        log.exception("the job failed")
        message = f"Unexpected {type(error).__name__}; the log file says where."
    state = "canceled" if cancelled.is_set() else "failed" if message else "succeeded"
    return {"state": state, "result": result, "error": {"message": message, "hint": hint} if message else None}


if __name__ == "__main__":
    sys.exit(main())
