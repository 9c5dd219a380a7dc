"""`vidpipe up` and `down`: one set of servers a home, found again after whatever happened to them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from vidpipe.operations.services import service_definitions
from vidpipe.operations.services.lifecycle import bring_up, down_servers
from vidpipe.operations.services.service_definitions import SERVICE, Running, Service, find_running, library_page
from vidpipe.operations.services.state import DesiredState, set_desired_state
from vidpipe.settings import Settings
from vidpipe.settings.operation import LibraryPage, Services
from vidpipe_tests.end_to_end.conftest import ENVIRONMENT
from vidpipe_tests.end_to_end.home import Home, ended, wait_for
from vidpipe_tests.end_to_end.unattended_home import UnattendedHome
from vidpipe_tests.fault_server import FaultServer

SERVERS = {"mongod", "library page", "code server", "web server", "daemon", "measures", "supervisor"}


def servers(station: UnattendedHome) -> dict[str, list[psutil.Process]]:
    """The processes of a home by kind, without the one that waits for the next run once there has been one."""
    return {kind: found for kind, found in station.processes().items() if kind != "spare process"}


def _locations(page: str) -> dict[str, Any]:
    """What Dagster's page says of its code location."""
    query = (
        "{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError "
        "{ __typename ... on PythonError { message } } } } } }"
    )
    answer = requests.post(f"{page}/graphql", json={"query": query}, timeout=20).json()
    entries = answer["data"]["workspaceOrError"]["locationEntries"]
    return {entry["name"]: entry["locationOrLoadError"]["__typename"] for entry in entries}


def test_all_servers_answer_on_the_loopback(station: UnattendedHome) -> None:
    assert set(servers(station)) == SERVERS
    up = station.home.json("up")
    assert up["started"] == []
    assert _locations(up["addresses"]["web"]) == {"vidpipe": "RepositoryLocation"}
    assert re.fullmatch(r"http://127\.0\.0\.1:84\d\d", up["addresses"]["library"])
    assert requests.get(f"{up['addresses']['library']}/api/v1/health", timeout=10).json()["status"] == "ok"
    assert "vidpipe_videos" in requests.get(up["addresses"]["measures"], timeout=10).text
    listening = {
        address.laddr.ip
        for processes in servers(station).values()
        for process in processes
        for address in process.net_connections("inet")
        if address.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}


def test_a_second_up_starts_nothing(station: UnattendedHome) -> None:
    before = {kind: [process.pid for process in found] for kind, found in servers(station).items()}
    both = [station.home.start("up", "--json"), station.home.start("up", "--json")]
    assert [ended(process).json["started"] for process in both] == [[], []]
    assert {kind: [process.pid for process in found] for kind, found in servers(station).items()} == before


def test_what_was_killed_comes_back_at_the_same_addresses(station: UnattendedHome) -> None:
    addresses = station.home.json("up")["addresses"]
    before = servers(station)
    killed = SERVERS - {"measures", "supervisor"}
    for kind in killed:
        for process in before[kind]:
            process.kill()
    wait_for("they are gone", lambda: not any(before[kind][0].is_running() for kind in killed), limit_s=10)
    wait_for("all are back", lambda: set(servers(station)) == SERVERS)
    assert station.home.json("up")["addresses"] == addresses
    after = servers(station)
    assert after["measures"] == before["measures"], "what lives is left alone"
    wait_for("the page knows the pipeline", lambda: _locations(addresses["web"]) == {"vidpipe": "RepositoryLocation"})
    after["supervisor"][0].kill()
    wait_for("it is gone", lambda: "supervisor" not in servers(station), limit_s=10)
    assert [down["name"] for down in station.home.json("status")["services_down"]] == ["supervisor"]
    wait_for("the daemon brings it back", lambda: "supervisor" in servers(station))


def test_a_server_that_does_not_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", {**ENVIRONMENT, "VIDPIPE_SERVICES_WEBPORT": "3500"})
    assert home("init", home.path).code == 0
    dagster = home.data / "dagster"
    dagster.mkdir(parents=True)
    (dagster / "dagster.yaml").write_text("storage: {custom: {module: no.such, class: Thing, config: {}}}\n")
    done = home("up")
    assert done.code != 0
    assert "no.such" in done.stderr
    assert home("down").code == 0
    assert not [process for process in home.processes() if process.pid != os.getpid()]


def page_answers(up: dict[str, Any]) -> bool:
    try:
        return requests.get(f"{up['addresses']['web']}/server_info", timeout=10).ok
    except requests.ConnectionError:
        return False


def slow_clients(up: dict[str, Any]) -> list[socket.socket]:
    """Nine of each page that never finish their request, some in the middle of its body."""
    clients = []
    for name in ("library", "web", "measures"):
        for number in range(9):
            client = socket.create_connection(("127.0.0.1", urlsplit(up["addresses"][name]).port))
            client.send(b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{" if number % 3 else b"G")
            clients.append(client)
    return clients


@pytest.mark.soak
def test_a_second_home_in_the_foreground_takes_free_ports_heals_itself_and_ctrl_c_stops_all_of_it(
    station: UnattendedHome, tmp_path: Path
) -> None:
    home = Home(tmp_path / "other", station.home.env)
    assert home("init", home.path).code == 0
    other = UnattendedHome(home, home.data / "urls.txt")
    process = home.start("up", "--foreground")
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        wait_for("all are up", lambda: any("All servers are up" in line for line in lines), limit_s=90)
        mine, theirs = station.home.json("up")["addresses"], home.json("up")
        assert not set(mine.values()) & set(theirs["addresses"].values())
        for port in (3400, 8400):
            assert any(f"Port {port} was taken" in note for note in theirs["notes"])
        assert theirs["started"] == [], "it has a supervisor"
        second = home("up", "--foreground")
        assert "already runs for this home" in second.stderr
        other.processes()["web server"][0].kill()
        wait_for("it was noticed", lambda: any("web: killed by SIGKILL" in line for line in lines), limit_s=30)
        wait_for("it is back", lambda: page_answers(theirs), limit_s=60)
        clients = slow_clients(theirs)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        assert process.returncode == 0
        for client in clients:
            client.close()
        wait_for("all are down", lambda: not other.processes(), limit_s=10)
        assert down_servers(home.settings, []) == {}
        assert home("down").code == 0
        assert set(servers(station)) == SERVERS, "one home's `down` leaves another's servers"
    finally:
        home("down", "--force")
        process.kill()
        subprocess.Popen.wait(process)


def test_changed_settings_reach_the_servers(station: UnattendedHome) -> None:
    """The last that uses the station: it leaves the servers as they are then."""
    before = {kind: found[0].pid for kind, found in servers(station).items()}
    changed = Home(station.home.path, {**station.home.env, "VIDPIPE_SERVICES_MAXRUNS": "2"})
    assert "The settings have changed" in changed("up").stderr
    after = {kind: found[0].pid for kind, found in servers(station).items()}
    assert {kind for kind in before if before[kind] == after[kind]} == {"mongod"}
    assert "max_concurrent_runs: 2" in (station.home.data / "dagster" / "dagster.yaml").read_text()


def test_what_a_server_has_started_is_not_taken_for_it(tmp_path: Path) -> None:
    marked = {**os.environ, SERVICE: "code", "VIDPIPE_HOME": str(tmp_path)}
    with subprocess.Popen(["sleep", "60"], env=marked) as child:
        assert find_running(tmp_path) == {}
        child.kill()


def test_the_code_servers_socket_is_the_users_own(tmp_path: Path) -> None:
    long = tmp_path / ("folder-with-a-long-name-" * 4)
    for directory in (tmp_path / "run", long):
        path = service_definitions.socket_path(directory)
        assert len(str(path)) <= 107
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert service_definitions.socket_path(long) == service_definitions.socket_path(long)


def test_the_port_found_once_is_found_again(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    taken = service_definitions.choose_port(memory, "web", 3700, "127.0.0.1", taken={3700})
    assert taken == 3701
    assert service_definitions.choose_port(memory, "web", 3700, "127.0.0.1") == 3701
    assert service_definitions.choose_port(memory, "web", 3750, "127.0.0.1") == 3750
    assert json.loads(memory.read_text())["web"] == {"asked": 3750, "got": 3750}


def test_the_address_of_the_library_page_is_the_public_one_or_the_port_it_got(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert library_page(settings) == "http://127.0.0.1:8000"
    memory = tmp_path / "data" / "run" / "ports.json"
    service_definitions.choose_port(memory, "library", 8000, "127.0.0.1", taken={8000})
    assert library_page(settings) == "http://127.0.0.1:8001"
    moved = settings.model_copy(update={"services": Services(library_port=8100, host="0.0.0.0")})
    assert library_page(moved) == f"http://{socket.gethostname()}:8100"
    public = settings.model_copy(update={"library_page": LibraryPage(public_url="https://videos.example.org")})
    assert library_page(public) == "https://videos.example.org"


def test_a_port_that_another_takes_at_the_last_moment_is_left_to_it(settings: Settings) -> None:
    """Even where what listens there answers as the server would."""
    with FaultServer() as other:
        chosen = [urlsplit(other.url("/")).port, 3801]

        def services_of(settings: Settings, running: dict[str, Running]) -> dict[str, Service]:
            port = chosen.pop(0)
            command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
            log = settings.home / "web.log"
            return {"web": Service("web", "the page", command, lambda: True, settings.home, log, port)}

        set_desired_state(settings, DesiredState("mine", ("web",)))
        begun: list[str] = []
        (service,) = bring_up(
            settings,
            ["web"],
            {},
            "mine",
            say=lambda line: None,
            failed=lambda name, error: None,
            begun=begun,
            define=services_of,
        )
        process = next(found for found in psutil.Process().children() if "3801" in found.cmdline())
        process.kill()
        process.wait()
    assert service.port == 3801
    assert set(begun) == {"web"}
