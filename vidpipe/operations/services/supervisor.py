"""Restarts servers of a home that died or hang: `python -m vidpipe.operations.services.supervisor`.

`vidpipe up` starts it, or becomes it with --foreground; `vidpipe down` stops it. It touches servers only while they are
desired and under the same lock as `up` and `down`, so that it never works against them.
"""

import contextlib
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psutil

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.library import embedded
from vidpipe.library.mongod_files import find_process, is_alive
from vidpipe.operations.services import state
from vidpipe.operations.services.lifecycle import FOREGROUND, DefineServices, Say, bring_up, down
from vidpipe.operations.services.service_definitions import (
    FINGERPRINT,
    answers,
    find_running,
    resume,
    services_of,
    stop,
    url,
)
from vidpipe.settings import Settings, configure_logging, find_home, load

_CHECK_EVERY_S = 2.0
_PROBE_EVERY_S = 10.0
#: The daemon checks on the supervisor, which checks on the daemon.
_CHECK_SUPERVISOR_EVERY_S = 20.0
#: A page hangs that has failed to answer this many times in a row.
MOST_UNANSWERED = 6
_PATHS = {"library": "/static/icon.svg", "web": "/server_info", "measures": "/"}
_LONGEST_PAUSE_S = 300.0
#: A server that has run this long starts again from the shortest pause.
_STEADY_S = 180.0


@dataclass
class _Failure:
    """A server that died recently.

    Attributes:
        outage: Why it is down; None: it is up again.
        pause_s: Before the next attempt to start it.
        retry_at: On the monotonic clock.
        tried_at: On the monotonic clock.
    """

    outage: state.Outage | None = None
    pause_s: float = 0.0
    retry_at: float = 0.0
    tried_at: float = 0.0


@dataclass
class Supervisor:
    """Watches the servers of one home.

    Attributes:
        settings: Of the home.
        fingerprint: Of the settings that the servers were started under.
        say: Called with each event, a line each.
        define: Returns the servers of the home.
        probe: Returns whether the page at an address answers.
        probe_every_s: How often pages are probed.
        first_pause_s: Before the first restart of a server; doubled each time it fails.
    """

    settings: Settings
    fingerprint: str
    say: Say
    define: DefineServices = services_of
    probe: Callable[[str], bool] = answers
    probe_every_s: float = _PROBE_EVERY_S
    first_pause_s: float = 2.0
    _known: dict[str, psutil.Process] = field(default_factory=dict, init=False)
    _ports: dict[str, int] = field(default_factory=dict, init=False)
    _unanswered: Counter[str] = field(default_factory=Counter, init=False)
    _probed_at: float = field(default=0.0, init=False)
    _failures: dict[str, _Failure] = field(default_factory=dict, init=False)

    def run(self) -> None:
        """Watch until the servers are no longer desired under these settings, or have another supervisor."""
        self._write()
        while state.is_desired(self.settings, self.fingerprint):
            with contextlib.suppress(state.ServicesBusyError):  # `up` or `down` is running
                self.check()
            if self._known.get("supervisor", psutil.Process()) != psutil.Process():
                return
            time.sleep(_CHECK_EVERY_S)

    def check(self) -> None:
        """Restart servers that died or hang, once their pause is over.

        Raises:
            ServicesBusyError: `up` or `down` is running and takes care of the servers.
        """
        hanging = self._hanging()
        if not (self._dead() or hanging):
            self._forget(())
            return
        with state.locked(self.settings, 0):
            down = [*self._dead(), *hanging]
            if not state.is_desired(self.settings, self.fingerprint):
                return
            self._forget(down)
            for name in down:
                failure = self._failures.setdefault(name, _Failure())
                if failure.outage is None:
                    reason = "does not answer" if name in hanging else self._how_it_ended(name)
                    failure.outage = state.Outage(datetime.now(UTC).isoformat(timespec="seconds"), reason)
                    self.say(f"{name}: {reason}.")
            self._write()
            now = time.monotonic()
            due = [name for name in down if self._failures[name].retry_at <= now]
            if due:
                self._start_again(due, hanging)

    def _forget(self, down: Sequence[str]) -> None:
        """Forget the outages of servers that are not `down`, and later their failures."""
        steady_since = time.monotonic() - _STEADY_S
        over = [name for name, failure in self._failures.items() if failure.outage and name not in down]
        for name in over:
            self._failures[name].outage = None
        if over:
            self._write()
        kept = {name: one for name, one in self._failures.items() if one.outage or one.tried_at > steady_since}
        self._failures = kept

    def _dead(self) -> list[str]:
        wanted = state.desired_state(self.settings)
        names = wanted.servers if wanted else ()
        if not all(name in self._known and is_alive(self._known[name]) for name in names):
            running = find_running(self.settings.home)
            self._known |= {name: found.process for name, found in running.items()}
            self._ports = {name: found.port for name, found in running.items() if found.port}
            mongod = find_process(embedded.files_of(self.settings))
            if mongod is not None:
                self._known["mongod"] = mongod[0]
        for name, process in self._known.items():
            if resume(process):
                self.say(f"{name}: was stopped by a signal; resumed.")
        return [name for name in names if name not in self._known or not is_alive(self._known[name])]

    def _hanging(self) -> list[str]:
        """Return the pages whose process runs but that have not answered for a minute."""
        now = time.monotonic()
        if now - self._probed_at < self.probe_every_s:
            return []
        self._probed_at = now
        for name, path in _PATHS.items():
            port = self._ports.get(name)
            if port is None or self.probe(f"{url(self.settings.services.host, port)}{path}"):
                self._unanswered[name] = 0
            else:
                self._unanswered[name] += 1
        return [name for name, number in self._unanswered.items() if number >= MOST_UNANSWERED]

    def _how_it_ended(self, name: str) -> str:
        """Return how the server ended, with its exit code if this process started it."""
        with contextlib.suppress(psutil.Error, KeyError):
            if (code := self._known[name].wait(0)) is not None:
                return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        return "exited unexpectedly"

    def _start_again(self, names: Sequence[str], hanging: Sequence[str]) -> None:
        running = find_running(self.settings.home)
        hung = [name for name in hanging if name in running]
        stop([running.pop(name).process for name in hung], 2.0)
        self._unanswered.clear()
        now = time.monotonic()
        for name in names:
            failure = self._failures[name]
            failure.pause_s = min(max(2 * failure.pause_s, self.first_pause_s), _LONGEST_PAUSE_S)
            failure.retry_at, failure.tried_at = now + failure.pause_s, now
        if "mongod" in names:
            self.say("MongoDB …")
            try:
                embedded.start(self.settings)
            except VidpipeError as error:
                self._failed("mongod", error)
        bring_up(
            self.settings, names, running, self.fingerprint, say=self.say, failed=self._failed, begun=[],
            define=self.define,
        )  # fmt: skip

    def _failed(self, name: str, error: VidpipeError) -> None:
        failure = self._failures[name]
        since = failure.outage.since if failure.outage else ""
        failure.outage = state.Outage(since, error.message)
        failure.retry_at = time.monotonic() + failure.pause_s
        self.say(f"{name}: {error.message} Next attempt in {failure.pause_s:.0f} s.")

    def _write(self) -> None:
        outages = {name: failure.outage for name, failure in self._failures.items() if failure.outage}
        with contextlib.suppress(OSError):  # a full disk must not end the supervision
            state.write_supervisor_state(self.settings, outages)


def _say(line: str) -> None:
    sys.stderr.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {line}\n")
    sys.stderr.flush()


def watch_supervisor(settings: Settings, fingerprint: str) -> None:
    """Restart a dead supervisor; never returns. Dagster's daemon runs this in a thread."""
    known: psutil.Process | None = None
    while True:
        time.sleep(_CHECK_SUPERVISOR_EVERY_S)
        if known is None or not is_alive(known):  # else a look at all processes, which takes 20 ms, is spared
            found = find_running(settings.home).get("supervisor")
            known = found.process if found else None
        if known is not None:
            resume(known)
            continue
        with contextlib.suppress(VidpipeError, OSError), state.locked(settings, 0):
            running = find_running(settings.home)
            if state.is_desired(settings, fingerprint) and "supervisor" not in running:
                services_of(settings, running)["supervisor"].launch(fingerprint)


def main() -> int:
    """Run the supervisor.

    Returns:
        The exit code: 3 where another `up` took over from a supervisor in the foreground, so that systemd restarts it.
    """
    foreground = FOREGROUND in sys.argv
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    fingerprint = os.environ[FINGERPRINT]
    settings = load(find_home()).settings
    configure_logging(settings)
    supervisor = Supervisor(settings, fingerprint, _say)
    while True:
        try:
            supervisor.run()
        except KeyboardInterrupt:
            if foreground and state.is_desired(settings, fingerprint):
                _say("Stopping …")
                down(settings, _say)
            return 0
        except (VidpipeError, OSError, psutil.Error) as error:  # such as a full disk: it must survive
            _say(f"{error}")
            time.sleep(_PROBE_EVERY_S)
        else:
            return UnavailableError.exit_code if foreground and state.desired_state(settings) else 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Nothing is left to do, and the teardown of Python and of its libraries' threads may wait for ever.
    os._exit(code)
