"""The servers of a home: Dagster's code server, page and daemon, the page of measures, and the supervisor."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vidpipe.pipeline.instance import dagster_environment
from vidpipe.services.ports import answers, choose_port, socket_path, url
from vidpipe.services.service import MODULES, TITLES, Running, Service, find_running
from vidpipe.services.state import run_directory, supervisor_state
from vidpipe.settings import Settings

_WORKSPACE = """\
load_from:
  - grpc_server:
      socket: {socket}
      location_name: vidpipe
"""


def services_of(settings: Settings, running: dict[str, Running]) -> dict[str, Service]:
    """The services by their names, in the order in which they are started. running: those that keep their port."""
    host = settings.services.host
    run = run_directory(settings)
    logs = settings.data_directory / "logs"
    environment = dagster_environment(settings)
    socket = socket_path(run)
    workspace = run / "workspace.yaml"
    workspace.write_text(_WORKSPACE.format(socket=json.dumps(str(socket))), encoding="utf-8")
    taken: set[int] = set()

    def port(name: str, asked: int) -> int:
        there = running.get(name)
        chosen = there.port if there and there.port else choose_port(run / "ports.json", name, asked, host, taken)
        taken.add(chosen)
        return chosen

    def log(name: str) -> Path:
        return logs / f"{name}.log"

    web = port("web", settings.services.web_port)
    measures = port("measures", settings.services.metrics_port)
    web_address, measures_address = url(host, web), f"{url(host, measures)}/metrics"
    python = [sys.executable, "-m"]
    program = [*python, "vidpipe.pipeline.program"]
    services = [
        Service(
            "code", TITLES["code"],
            [*program, MODULES["code"], "api", "grpc", "--socket", str(socket),
             "--module-name", "vidpipe.pipeline.definitions", "--location-name", "vidpipe"],
            lambda: _code_answers(socket), settings.home, log("code"), environment=environment,
        ),
        Service(
            "web", TITLES["web"],
            [*program, MODULES["web"], "-h", host, "-p", str(web), "-w", str(workspace)],
            lambda: answers(f"{web_address}/server_info"), settings.home, log("web"), web, web_address, environment,
            after="code",
        ),
        Service(
            "daemon", TITLES["daemon"],
            [*program, MODULES["daemon"], "run", "-w", str(workspace)],
            lambda: _daemon_beats(settings), settings.home, log("daemon"), environment=environment,
            after="code",
        ),
        Service(
            "measures", TITLES["measures"],
            [*python, MODULES["measures"], "--home", str(settings.home), "--host", host, "--port", str(measures)],
            lambda: answers(measures_address), settings.home, log("measures"), measures, measures_address,
            environment,
        ),
        Service(
            "supervisor", TITLES["supervisor"], [*python, MODULES["supervisor"]],
            lambda: _supervises(settings), settings.home, log("supervisor"), environment=environment,
        ),
    ]  # fmt: skip
    return {service.name: service for service in services}


def _code_answers(socket: Path) -> bool:
    from vidpipe.pipeline.answering import code_server_answers  # brings in Dagster, which `status` need not wait for

    return code_server_answers(socket)


def _daemon_beats(settings: Settings) -> bool:
    from vidpipe.pipeline.answering import daemon_beats

    running = find_running(settings.home).get("daemon")
    return running is not None and daemon_beats(settings, running.started.timestamp())


def _supervises(settings: Settings) -> bool:
    running = find_running(settings.home).get("supervisor")
    return running is not None and supervisor_state(settings).pid == running.pid
