"""The supervisor restarts servers that die or hang, with pauses, and never what `vidpipe down` has stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from vidpipe.errors import UnavailableError
from vidpipe.operations.services.lifecycle import bring_up, down_servers
from vidpipe.operations.services.service_definitions import Running, Service, choose_port, find_running
from vidpipe.operations.services.state import DesiredState, ServicesBusyError, locked, set_desired_state
from vidpipe.operations.services.supervisor import MOST_UNANSWERED, Supervisor
from vidpipe.settings import Settings
from vidpipe_tests.end_to_end.home import wait_for

_PAGE = (
    "import http.server, sys; print('a start', flush=True);"
    "http.server.HTTPServer(('127.0.0.1', int(sys.argv[2])), http.server.BaseHTTPRequestHandler).serve_forever()"
)
_CRASH = "print('a start', flush=True); raise SystemExit('no such thing')"


class Page:
    """A home whose only server is a page that runs `code`."""

    def __init__(self, settings: Settings, code: str, first_pause_s: float) -> None:
        self.settings = settings
        self.code = code
        self.lines: list[str] = []
        self.answers = True
        self.supervisor = Supervisor(
            settings, "mine", self.lines.append, define=self.services_of, probe=lambda address: self.answers,
            probe_every_s=0.0, first_pause_s=first_pause_s,
        )  # fmt: skip
        self.log = settings.home / "web.log"
        set_desired_state(settings, DesiredState("mine", ("web",)))

    def services_of(self, settings: Settings, running: dict[str, Running]) -> dict[str, Service]:
        port = choose_port(settings.home / "ports.json", "web", 22700, "127.0.0.1")
        command = [sys.executable, "-c", self.code, "dagster_page", str(port)]
        return {"web": Service("web", "the page", command, lambda: True, settings.home, self.log, port)}

    @property
    def starts(self) -> int:
        return self.log.read_text().count("a start") if self.log.exists() else 0

    @property
    def process(self) -> psutil.Process:
        return find_running(self.settings.home)["web"].process


@pytest.fixture
def page(settings: Settings) -> Iterator[Callable[..., Page]]:
    def make(code: str, first_pause_s: float = 2.0) -> Page:
        return Page(settings, code, first_pause_s)

    yield make
    for running in find_running(settings.home).values():
        with contextlib.suppress(psutil.NoSuchProcess):
            running.process.kill()


def test_what_was_killed_is_started_again_and_why_it_ended_is_said(page: Callable[..., Page]) -> None:
    one = page(_PAGE, first_pause_s=0.2)
    one.supervisor.check()
    first = one.process
    one.supervisor.check()
    assert one.starts == 1, "what runs is left alone"
    first.kill()
    wait_for("it has ended", lambda: not find_running(one.settings.home))
    one.supervisor.check()
    assert "web: killed by SIGKILL." in one.lines
    down = down_servers(one.settings, [])["web"]
    assert down.reason == "killed by SIGKILL"
    assert down.since
    wait_for("its pause is over", lambda: one.supervisor.check() or find_running(one.settings.home))
    one.supervisor.check()
    assert down_servers(one.settings, ["web"]) == {}
    assert one.process != first


def test_what_ends_at_every_start_is_not_started_without_a_pause(page: Callable[..., Page]) -> None:
    one = page(_CRASH)
    for _ in range(10):
        one.supervisor.check()
    assert one.starts == 1
    reason = down_servers(one.settings, [])["web"].reason
    assert "ended right after its start" in reason
    assert "no such thing" in reason
    assert any("Next attempt in 2 s" in line for line in one.lines)


def test_what_hangs_is_started_again_and_what_a_signal_stopped_goes_on(page: Callable[..., Page]) -> None:
    one = page(_PAGE, first_pause_s=0.0)
    one.supervisor.check()
    first = one.process
    first.send_signal(signal.SIGSTOP)
    wait_for("it is stopped", lambda: first.status() == psutil.STATUS_STOPPED)
    assert down_servers(one.settings, ["web"])["web"].reason == "stopped by a signal (SIGSTOP)"
    one.supervisor.check()
    assert first.status() != psutil.STATUS_STOPPED
    one.answers = False
    for _ in range(MOST_UNANSWERED):
        assert one.process == first
        one.supervisor.check()
    assert one.process != first
    assert "web: does not answer." in one.lines


def test_nothing_comes_back_after_down(page: Callable[..., Page]) -> None:
    one = page(_PAGE)
    set_desired_state(one.settings, None)
    one.supervisor.check()
    one.supervisor.run()
    assert one.starts == 0
    assert down_servers(one.settings, []) == {}


def test_down_ends_a_start_that_is_under_way(page: Callable[..., Page]) -> None:
    one = page("import time; time.sleep(60)")

    def failed(name: str, error: UnavailableError) -> None:
        raise error

    begun: list[str] = []
    with pytest.raises(UnavailableError, match="`vidpipe down`"):
        bring_up(
            one.settings, ["web"], {}, "mine",
            say=lambda line: set_desired_state(one.settings, None), failed=failed, begun=begun, define=one.services_of,
        )  # fmt: skip
    assert begun == ["web"]


def test_the_supervisor_leaves_the_servers_to_an_up_that_is_at_work(page: Callable[..., Page]) -> None:
    one = page(_PAGE)
    with locked(one.settings), pytest.raises(ServicesBusyError):
        one.supervisor.check()
    assert one.starts == 0


def test_only_one_supervisor_stays(page: Callable[..., Page]) -> None:
    one = page(_PAGE)
    marked = {**os.environ, "_VIDPIPE_SERVICE": "supervisor", "VIDPIPE_HOME": str(one.settings.home)}
    command = [sys.executable, "-c", "import time; time.sleep(60)", "vidpipe.operations.services.supervisor"]
    with subprocess.Popen(command, env=marked) as other:
        wait_for("the other one is there", lambda: "supervisor" in find_running(one.settings.home))
        one.supervisor.run()
        assert one.starts == 1
        assert other.poll() is None
        other.kill()
