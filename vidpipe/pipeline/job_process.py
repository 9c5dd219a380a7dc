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
from collections.abc import Callable, Sequence
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
from vidpipe.runner.job_request import JOB_REQUEST, AddJob, AskJob, ForgetJob, JobRequest, RunJob
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.settings import Settings, audit, configure_logging, load
from vidpipe.sources.due_sources import requests_by_id
from vidpipe.sources.inputs import Gathered, SourceRequest, gather, request_for
from vidpipe.sources.records import IngestNote, IngestOutcome, SourceRecord, outcomes_as_json
from vidpipe.stages.contract import StageEvent
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.model_answers import VideoAnswers
from vidpipe.stages.registry import build_graph

log = logging.getLogger(__name__)

_PROGRESS_EVERY_S = 0.25
#: A job that is still running this long after it was asked to stop is killed: stored data is consistent at any time.
_STOP_LIMIT_S = 30.0
#: Entries of each list in a result; the page keeps results in memory.
_MOST_LISTED = 1000
_ENDS = {"computed", "current", "blocked", "failed", "busy", "discarded"}


class JobEvents:
    """Writes events for the page. May be used from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, event: str, **data: Any) -> None:
        """Write an event; nobody may be reading any more."""
        with self._lock, suppress(OSError, ValueError):
            self._stream.write(to_json({"event": event, "data": data}) + b"\n")
            self._stream.flush()

    def count(self, **added: int) -> None:
        """Add to the numbers of pieces of work: total, done, failed."""
        self.send("count", **added)


@dataclass
class AddEvents:
    """Reports an ingest (`vidpipe.sources.records.IngestObserver`).

    Attributes:
        given: Id of a source -> the input that it is.
    """

    events: JobEvents
    given: dict[str, str]
    notes: list[IngestNote] = field(default_factory=list)

    def on_note(self, note: IngestNote) -> None:
        """Keep the note."""
        self.notes.append(note)

    def on_start(self, source: SourceRecord) -> None:
        """Report that a source is being fetched."""
        self.events.send("source", input=self.given.get(source.id, source.url), state="fetching")

    def on_bytes(self, source_id: str, done: int, total: int | None) -> None:
        """Report progress of a transfer."""
        self.events.send("bytes", input=self.given.get(source_id, ""), received=done, total=total)

    def on_outcome(self, outcome: IngestOutcome) -> None:
        """Report what became of a source."""
        source, error = outcome.source, outcome.error
        name = (source.file_name if source else None) or outcome.input
        self.events.send(
            "source", input=self.given.get(source.id, outcome.input) if source else outcome.input, state=outcome.state,
            video=outcome.video, name=name, error=error, hint=outcome.note, transient=outcome.transient,
            source=source.id if source else None,
        )  # fmt: skip
        self.events.count(done=1, failed=int(error is not None))


class RunEvents:
    """Reports a run (`vidpipe.stages.contract.Observer`)."""

    def __init__(self, events: JobEvents, stages: int) -> None:
        self._events, self._stages = events, stages
        self._sent_at: dict[tuple[str, str], float] = {}

    def on_event(self, event: StageEvent) -> None:
        """Report what happened to a video."""
        error = event.error
        self._events.send(
            "stage", video=event.sha256, name=event.name, stage=event.stage, state=event.state,
            seconds=round(event.seconds, 3), error=error.message if error else None, hint=error.hint if error else "",
        )  # fmt: skip
        if event.state in _ENDS:
            self._sent_at.pop((event.sha256, event.stage), None)
            self._events.count(done=self._stages if event.state == "busy" else 1, failed=int(event.state == "failed"))

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None:
        """Report the progress of a stage, a few times a second."""
        now = time.monotonic()
        if now - self._sent_at.get((sha256, stage), 0.0) >= _PROGRESS_EVERY_S:
            self._sent_at[sha256, stage] = now
            self._events.send("progress", video=sha256, stage=stage, fraction=round(fraction, 3))


@dataclass
class AskEvents:
    """Reports answers (`vidpipe.runner.asking.AnswerObserver`)."""

    events: JobEvents
    answers: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)

    def on_answers(self, name: str, video: VideoAnswers) -> None:
        """Report the answers about a video."""
        for cell in video.cells:
            answer = answer_as_json(video.item.sha256, name, cell)
            self.answers.append(answer)
            self.events.send("answer", **answer)
        self.events.count(done=1)

    def on_failure(self, sha256: str, name: str, error: VidpipeError) -> None:
        """Report a video without an answer."""
        self.failed.append({"video": sha256, "name": name, "message": error.message, "hint": error.hint})
        self.events.count(done=1, failed=1)


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
        return self._ask(job) if isinstance(job, AskJob) else self._forget(job)

    def _add(self, job: AddJob) -> dict[str, Any]:
        from vidpipe.pipeline.ingest import ingest_gathered  # imports Dagster

        gathered, given = self._gathered(job)
        observer = AddEvents(self.events, given)
        self.events.count(total=len(gathered.requests) + len(gathered.problems))
        for request in gathered.requests[:_MOST_LISTED]:
            self.events.send("source", input=given[request.id], state="waiting")
        for problem in gathered.problems:
            observer.on_outcome(problem)
        outcomes = ingest_gathered(
            self.settings, gathered, observer=observer, cancelled=self.cancelled, graph=self.graph, library=self.library
        )
        for outcome in outcomes:
            audit("source", **outcome.as_json())
        self._delete_uploads(job, outcomes)
        failed = sum(outcome.error is not None for outcome in outcomes)
        result = outcomes_as_json(outcomes, observer.notes)
        result["inputs"] = result["inputs"][:_MOST_LISTED]
        videos = tuple(dict.fromkeys(outcome.video for outcome in outcomes if outcome.video))
        result["videos"] = videos
        if job.process and videos and not self.cancelled.is_set():
            result["run"] = self._run(RunRequest(videos=videos, retry=bool(job.sources)))
        if failed:
            self.failed = f"{failed} of {len(outcomes)} sources could not be added. {self.failed}".strip()
        return result

    def _gathered(self, job: AddJob) -> tuple[Gathered, dict[str, str]]:
        """Return the requests, and the input of each source id."""
        gathered = Gathered()
        if job.sources:
            listed = ListedSources(self.library.collections, self.library.sources)
            gathered = requests_by_id(job.sources, self.library.sources, listed, self.settings, listed_only=False)
        for one in job.inputs:
            found = gather([one.url], download=self.settings.download)  # several, for a folder of S3
            title = (one.title or None) if len(found.requests) == 1 else None
            for request in found.requests:
                labels = (*one.labels, *job.labels)
                gathered.put(self._described(request, title=title, labels=labels, priority=one.priority))
            gathered.problems += found.problems
            gathered.notes += found.notes
        for path in job.uploads:
            request = request_for(str(path), mode="hardlink")
            gathered.put(replace(self._described(request, labels=job.labels), given=path.name))
        gathered.requests = list({request.id: request for request in gathered.requests}.values())
        return gathered, {request.id: request.given for request in gathered.requests}

    @staticmethod
    def _described(request: SourceRequest, *, labels: Sequence[str], **changes: Any) -> SourceRequest:
        return replace(request, labels=tuple(dict.fromkeys((*request.labels, *labels))), **changes)

    def _delete_uploads(self, job: AddJob, outcomes: Sequence[IngestOutcome]) -> None:
        """Delete uploaded files that are in the media store now, or that cannot get there."""
        again = {outcome.input for outcome in outcomes if outcome.transient or outcome.state == "cancelled"}
        for path in job.uploads if outcomes else ():
            if path.name not in again:
                shutil.rmtree(path.parent, ignore_errors=True)

    def _run(self, request: RunRequest) -> dict[str, Any]:
        from vidpipe.pipeline.in_process_run import run_process

        stages = request.stage_names(self.graph.names)
        if request.videos is not None:
            self.events.count(total=len(stages) * len(request.videos))
        observer = RunEvents(self.events, len(stages))
        report: RunReport = run_process(
            self.settings, request, observer=observer, cancelled=self.cancelled, graph=self.graph, library=self.library
        )
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
        observer = AskEvents(self.events)
        with closing(Plan.make(self.graph, self.settings)) as plan:
            if job.save:
                add_question(self.settings.resolve(self.settings.rules.questions), question)
            self.events.count(total=len(job.videos))
            Asking(self.library, plan, question, observer, "page").ask(job.videos, self.cancelled)
        if observer.failed:
            self.failed = f"{len(observer.failed)} of {len(job.videos)} videos have no answer."
        listed = {"answers": observer.answers[:_MOST_LISTED], "failed": observer.failed[:_MOST_LISTED]}
        return {"question": question.text, "id": question.id, "kind": question.kind, **listed}

    def _forget(self, job: ForgetJob) -> dict[str, Any]:
        from vidpipe.pipeline.partitions import forget_videos
        from vidpipe.search.index import purge  # imports tantivy

        self.events.count(total=len(job.videos))
        found = forget_videos(self.library, job.videos)
        audit("forget", videos=[asdict(one) for one in found])
        busy = sum(one.state == "busy" for one in found)
        self.events.count(done=len(found), failed=busy)
        if busy < len(found):
            purge(self.library)
        if busy:
            self.failed = f"A run is using {busy} of the videos: wait until it ends or stop it, then repeat this."
        return {"videos": [asdict(one) for one in found[:_MOST_LISTED]]}


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
    threading.Thread(target=_await_end, args=(cancelled,), daemon=True).start()

    def work() -> None:
        end = _ended(lambda: load(options.home, config=options.config).settings, line, events, cancelled)
        events.send("end", **end)

    with ThreadPoolExecutor(1, thread_name_prefix="work") as pool:  # the main thread stays free to receive signals
        pool.submit(work).result()
    return 0


def _await_end(cancelled: threading.Event) -> None:
    while os.read(0, 1):
        pass
    cancelled.set()
    time.sleep(_STOP_LIMIT_S)
    with suppress(OSError):
        os.killpg(os.getpid(), signal.SIGKILL)


def _ended(
    settings_in_force: Callable[[], Settings], line: bytes, events: JobEvents, cancelled: threading.Event
) -> dict[str, Any]:
    """Do the job and return how it ended."""
    try:
        settings = settings_in_force()
        configure_logging(settings)
        graph = build_graph(settings)
        with Library.open(settings, graph) as library, library.connection.errors_explained():
            work = JobWork(settings, graph, library, events, cancelled)
            result = work.do(JOB_REQUEST.validate_json(line))
    except VidpipeError as expected:
        state = "canceled" if cancelled.is_set() else "failed"
        return {"state": state, "error": {"message": expected.message, "hint": expected.hint}}
    except Exception as unexpected:
        log.exception("the job failed")
        detail = {"message": f"Unexpected {type(unexpected).__name__}; the log file says where.", "hint": ""}
        return {"state": "failed", "error": detail}
    state = "canceled" if cancelled.is_set() else "failed" if work.failed else "succeeded"
    error = {"message": work.failed, "hint": ""} if work.failed else None
    return {"state": state, "result": result, "error": error}


if __name__ == "__main__":
    sys.exit(main())
