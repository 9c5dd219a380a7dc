"""vidpipe status --watch: a status that refreshes, with running runs, rates and new failures."""

import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live

from vidpipe.cli.context import OpenLibrary
from vidpipe.cli.output import clean, counted, out, size, table, words, write_bytes
from vidpipe.cli.status_view import sentences, stage_table
from vidpipe.errors import VidpipeError
from vidpipe.library.queries.json_encoding import to_json
from vidpipe.library.runs import Runs
from vidpipe.library.videos import name_of
from vidpipe.operations.status import status_of
from vidpipe.runner.plan import Plan

_MOST_RUNS = 12
_MOST_FAILURES = 5
#: A commit's time is set a moment before it can be read.
_OVERLAP = timedelta(seconds=10)


def watch_status(opened: OpenLibrary, seconds: float, *, as_json: bool) -> None:
    """Show the status every `seconds` until Ctrl-C or SIGTERM.

    Refreshes in place on a terminal; otherwise prints one after another, as JSON Lines with `as_json`. A server that
    is unavailable is reported and waited for.
    """
    watcher = StatusWatcher(opened)
    console = out()
    with suppress(KeyboardInterrupt, BrokenPipeError):
        if as_json or not console.is_terminal:
            for result in watcher.results(seconds):
                if as_json:
                    write_bytes(to_json(result) + b"\n")
                else:
                    console.print(Group(*_render(result), words("")))
                    sys.stdout.flush()
            return
        with Live(console=console, auto_refresh=False) as live:
            for result in watcher.results(seconds):
                live.update(Group(*_render(result), words("Press Ctrl-C to stop.", "dim")), refresh=True)


class StatusWatcher:
    """Reads the library and Dagster's queue, and compares them with the start of the watch."""

    def __init__(self, opened: OpenLibrary) -> None:
        self._opened = opened
        self._began_at = datetime.now(UTC)
        self._began = time.monotonic()
        self._before: Mapping[str, Any] | None = None
        self._videos_before = 0
        self._failures: deque[dict[str, Any]] = deque(maxlen=_MOST_FAILURES)
        self._seen: deque[str] = deque(maxlen=10 * _MOST_FAILURES)
        self._read_at = self._began_at
        self._instance: Any = None

    def results(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Yield a status every `seconds`, forever; {"error": …} while MongoDB is unavailable."""
        try:
            while True:
                began = time.monotonic()
                yield self._read()
                time.sleep(max(0.0, seconds - (time.monotonic() - began)))
        finally:
            if self._instance is not None:
                self._instance.dispose()

    def _read(self) -> dict[str, Any]:
        at = datetime.now(UTC)
        try:
            with self._opened.library.connection.errors_explained():
                library = self._opened.library
                with closing(Plan.make(library.graph, self._opened.settings)) as plan:  # with current rules and prompts
                    result = status_of(library, plan)
                watch = {"rates": self._rates(result["videos"]), "failures": self._new_failures()}
        except VidpipeError as error:
            return {"at": at, "error": error.as_json()}
        return {
            "at": at,
            **result,
            "watch": {"seconds": time.monotonic() - self._began, **watch, **self._running_runs()},
        }

    def _rates(self, videos: int) -> dict[str, Any]:
        """Return what runs have done since the watch began; they report every few seconds."""
        totals = Runs(self._opened.library.collections["runs"]).totals()
        if self._before is None:
            self._before, self._videos_before = totals, videos
        minutes = max((time.monotonic() - self._began) / 60, 1e-9)
        stages = {}
        for name in self._opened.library.graph.names:
            now, before = (((of.get("stages") or {}).get(name) or {}) for of in (totals, self._before))
            grown = {key: int(now.get(key, 0) - before.get(key, 0)) for key in ("computed", "failed")}
            stages[name] = {**grown, "computed_per_minute": grown["computed"] / minutes}
        bytes_in = int(totals.get("bytes_in", 0) - self._before.get("bytes_in", 0))
        return {"videos": videos - self._videos_before, "bytes_in": bytes_in, "stages": stages}

    def _new_failures(self) -> list[dict[str, Any]]:
        """Return the latest failures since the watch began, newest first."""
        collections = self._opened.library.collections
        since = max(self._began_at, self._read_at - _OVERLAP)
        self._read_at = datetime.now(UTC)
        query = {"kind": "commit", "at": {"$gte": since}, "status": {"$in": ["failed", "quarantined"]}}
        wanted = {"video": 1, "stage": 1, "at": 1, "error": 1}
        found = collections["lineage"].find(query, wanted).sort("at", -1).limit(_MOST_FAILURES)
        new = [row for row in found if row["_id"] not in self._seen]
        self._seen.extend(row["_id"] for row in new)
        ids = [row["video"] for row in new]
        names = {
            row["_id"]: name_of(row) for row in collections["videos"].find({"_id": {"$in": ids}}, {"ingest.names": 1})
        }
        for row in reversed(new):
            error = row.get("error") or {}
            self._failures.appendleft(
                {
                    "video": row["video"], "name": names.get(row["video"], row["video"][:12]), "stage": row["stage"],
                    "at": row["at"], "message": error.get("message", ""),
                }
            )  # fmt: skip
        return list(self._failures)

    def _running_runs(self) -> dict[str, Any]:
        from vidpipe.pipeline.instance import instance
        from vidpipe.pipeline.run_queue import active_runs, queue_figures

        try:
            if self._instance is None:
                self._instance = instance(self._opened.settings)
            queue = queue_figures(self._instance)
            runs = active_runs(self._instance, _MOST_RUNS)
        except Exception as error:  # a broken Dagster storage must not hide the library
            return {"running": [], "queued": {}, "problem": f"Dagster's runs cannot be read: {error}"}
        return {"running": [asdict(run) for run in runs], "queued": queue.queued, "oldest_queued_s": queue.oldest_s}


def _render(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    at = result["at"].astimezone()
    if "error" in result:
        yield words(f"{at:%H:%M:%S}  {result['error']['message']} {result['error']['hint']}", "red")
        return
    watch = result["watch"]
    yield words(f"{at:%H:%M:%S}  {result['home']}", "bold")
    yield stage_table(result["stages"])
    yield from sentences(result)
    yield words(_rates(watch["rates"], watch["seconds"]))
    if watch.get("problem"):
        yield words(watch["problem"], "red")
    queued = watch["queued"]
    waiting = ", ".join(f"{number} {job}" for job, number in sorted(queued.items()))
    in_brackets = f" ({waiting})" if queued else ""
    yield words(f"Runs: {len(watch['running'])} running, {sum(queued.values())} queued{in_brackets}.")
    if watch["running"]:
        yield _runs(watch["running"], at)
    for failure in watch["failures"]:
        yield words(f"• {failure['name']}, {failure['stage']}: {failure['message']}", "red")


def _runs(runs: list[Mapping[str, Any]], now: datetime) -> RenderableType:
    made = table("run", "job", "step", "of", "since", "", right=("of", "since"))
    for run in runs:
        since = "" if run["began_at"] is None else _ago((now - run["began_at"]).total_seconds())
        items = "" if run["items"] is None else f"{run['items']:,}"
        state = "" if run["status"] == "started" else run["status"]
        made.add_row(run["id"][:8], words(run["job"]), words(run["step"]), items, since, words(state, "dim"))
    return made


def _rates(rates: Mapping[str, Any], seconds: float) -> str:
    done = [
        f"{name} {figures['computed_per_minute']:,.1f}"
        for name, figures in rates["stages"].items()
        if figures["computed"]
    ]
    failed = sum(figures["failed"] for figures in rates["stages"].values())
    said = [
        counted(rates["videos"], "new video"),
        *([f"{size(rates['bytes_in'])} added"] if rates["bytes_in"] else []),
        f"results per minute: {clean(', '.join(done))}" if done else "no results",
        *([counted(failed, "failed attempt")] if failed else []),
    ]
    return f"In the last {_ago(seconds)}: {'; '.join(said)}."


def _ago(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
