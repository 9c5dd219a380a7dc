"""Work that a request starts, in processes of its own: adding, running, asking, removing.

A process (`vidpipe.pipeline.job_process`) reads its request as one JSON line from stdin, writes events as JSON lines to
stdout, and stops cleanly when stdin ends: if it is cancelled, or if the server is gone.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any, Literal, NamedTuple

from fastapi import Depends, Request
from pydantic import BaseModel

from vidpipe.redaction import redact
from vidpipe.runner.job_request import JobRequest
from vidpipe.web.problems import RequestError

log = logging.getLogger(__name__)

_MOST_RUNNING, _MOST_QUEUED, _MOST_KEPT = 2, 100, 200
#: Events of a job that are kept, the latest ones.
_MOST_EVENTS = 5000
#: How long a server that is stopped waits for its jobs, which stop by themselves.
_STOP_S = 1.5
_LOG_TAIL_BYTES = 4096
FINAL_STATES = ("succeeded", "failed", "canceled")


class JobProgress(BaseModel):
    """Pieces of work: each source to add, each stage of each video, each video to ask about or remove."""

    done: int = 0
    total: int = 0
    failed: int = 0


class JobError(BaseModel):
    """Why a job failed, and what to do."""

    message: str
    hint: str = ""


class Job(BaseModel):
    """Work that a request started.

    Attributes:
        by: Name of the key that was used.
        result: What it did, once it ended: reports as the commands write them with --json.
        error: What failed; what was finished before is stored.
    """

    id: str
    kind: Literal["add", "run", "ask", "forget", "plan", "apply"]
    state: Literal["queued", "running", "succeeded", "failed", "canceled"] = "queued"
    created_at: datetime
    began_at: datetime | None = None
    ended_at: datetime | None = None
    by: str
    progress: JobProgress = JobProgress()
    result: dict[str, Any] | None = None
    error: JobError | None = None


class JobEvent(NamedTuple):
    """An event of a job; ids ascend."""

    id: int
    name: str
    data: Mapping[str, Any]


class RunningJob:
    """A job with its events and its process. Used by several threads."""

    def __init__(self, job: Job, request: str) -> None:
        #: As it is now. It is replaced when it changes, and never changed itself.
        self.job = job
        self._request = request
        self._lock = threading.RLock()
        self._events: dict[object, JobEvent] = {}
        self._last_id = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._changed()

    def events(self, after: int = 0) -> list[JobEvent]:
        """Return the events since the one with the id `after`."""
        with self._lock:
            return [event for event in self._events.values() if event.id > after]

    def work(self, command: list[str]) -> None:
        """Start the process, and follow it until it ends."""
        with tempfile.TemporaryFile() as errors:
            with self._lock:
                if self.job.state != "queued":
                    return
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
                )
                self.job = self.job.model_copy(update={"state": "running", "began_at": datetime.now(UTC)})
            process = self._process
            assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - pipes
            self._changed()
            with suppress(OSError, ValueError):  # the process is gone, or was canceled meanwhile
                process.stdin.write(self._request.encode() + b"\n")
                process.stdin.flush()
            end: Mapping[str, Any] = {}
            for line in process.stdout:
                with suppress(ValueError):  # a killed process leaves half a line
                    event = json.loads(line)
                    if event["event"] == "end":
                        end = event["data"]
                    else:
                        self._receive(event["event"], event["data"])
            code = process.wait()
            self.stop()
            process.stdout.close()
            self.end(end or {"state": "failed", "error": _death(code, errors)})

    def _receive(self, name: str, data: Mapping[str, Any]) -> None:
        if name != "count":
            self._add(name, data)
            return
        with self._lock:
            figures = Counter(self.job.progress.model_dump()) + Counter(data)
            progress = JobProgress(**{**figures, "total": max(figures["total"], figures["done"])})
            self.job = self.job.model_copy(update={"progress": progress})

    def _add(self, name: str, data: Mapping[str, Any]) -> None:
        """Keep an event; of several about the same subject, the latest one."""
        subject = (data.get("input"), data.get("video"), data.get("stage"))
        with self._lock:
            self._last_id += 1
            key: object = self._last_id if name == "answer" else (name, *subject)
            self._events.pop(key, None)
            self._events[key] = JobEvent(self._last_id, name, data)
            if len(self._events) > _MOST_EVENTS:
                del self._events[next(iter(self._events))]

    def _changed(self) -> None:
        self._add("job", self.job.model_dump(mode="json"))

    def end(self, end: Mapping[str, Any]) -> None:
        """Set the final state, with result and error."""
        with self._lock:
            # as a whole: who sees the final state also sees the final event
            self.job = Job.model_validate({**self.job.model_dump(), **end, "ended_at": datetime.now(UTC)})
            self._request = ""
            self._changed()

    def stop(self) -> None:
        """Ask the process to stop; a job that waits for its turn is canceled at once."""
        with self._lock:
            if self.job.state == "queued":
                self.end({"state": "canceled"})
            elif self._process is not None and self._process.stdin is not None:
                with suppress(OSError):
                    self._process.stdin.close()


def _death(code: int, errors: IO[bytes]) -> dict[str, str]:
    """Return the error of a process that ended without a result, with the last line that it wrote."""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    said = f" Its last line was: {lines[-1]}" if lines else ""
    return {"message": redact(f"The process of the job {how}.{said}"), "hint": "Finished results are stored."}


class Jobs:
    """The jobs of a server: a few run at once, others wait. Used by several threads.

    Args:
        home: Folder of config.ini.
        config: Read instead of config.ini.
    """

    def __init__(self, home: Path, config: Path | None = None) -> None:
        self._command = [sys.executable, "-m", "vidpipe.pipeline.job_process", "--home", str(home)]
        self._command += ["--config", str(config)] if config else []
        self.jobs: dict[str, RunningJob] = {}
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(_MOST_RUNNING)
        self._threads: list[threading.Thread] = []

    def start(self, request: JobRequest, by: str) -> Job:
        """Start a job, or let it wait for its turn.

        Raises:
            RequestError: Too many jobs wait.
        """
        job = Job(id=uuid.uuid4().hex, kind=request.kind, created_at=datetime.now(UTC), by=by)
        running = RunningJob(job, request.model_dump_json())
        with self._lock:
            if sum(one.job.state == "queued" for one in self.jobs.values()) >= _MOST_QUEUED:
                raise RequestError(429, f"{_MOST_QUEUED} jobs wait already.", "Try again later.", {"Retry-After": "60"})
            self.jobs[job.id] = running
            for old in [key for key, one in self.jobs.items() if one.job.state in FINAL_STATES][: -_MOST_KEPT or None]:
                del self.jobs[old]
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=self._follow, args=(running,), name="job", daemon=True)
            self._threads.append(thread)
            thread.start()
        return job

    def _follow(self, running: RunningJob) -> None:
        with self._turns:
            try:
                running.work(self._command)
            except Exception as error:  # it would wait forever
                log.exception("a job could not be followed")
                running.end({"state": "failed", "error": {"message": f"The job could not be followed: {error}"}})

    def __iter__(self) -> Iterator[Job]:
        """Yield the jobs, the latest first."""
        with self._lock:
            jobs = list(self.jobs.values())
        return (one.job for one in reversed(jobs))

    def __getitem__(self, job_id: str) -> RunningJob:
        """Return a job.

        Raises:
            RequestError: There is none of this id any more.
        """
        with self._lock:
            running = self.jobs.get(job_id)
        if running is None:
            raise RequestError(404, "There is no such job.", "The server keeps the latest jobs until it stops.")
        return running

    def close(self) -> None:
        """Cancel all jobs, and wait until they have stored what is finished."""
        with self._lock:
            jobs, threads = list(self.jobs.values()), self._threads
        for one in jobs:
            one.stop()
        deadline = time.monotonic() + _STOP_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


async def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


#: Parameter of endpoints: the server's jobs.
ServerJobs = Annotated[Jobs, Depends(_jobs)]
