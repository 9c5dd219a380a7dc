"""The address of a run on Dagster's page, where `vidpipe up` has started it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import psutil

from vidpipe.settings import Settings

#: As `vidpipe.operations.services.service_definitions` marks the processes it starts; a test compares them.
SERVICE, PORT, WEB = "_VIDPIPE_SERVICE", "_VIDPIPE_PORT", "web"


def run_addresses(settings: Settings) -> Callable[[str], str]:
    """run id -> its address, or nothing where the page does not run. Looked up once, when first asked."""
    known: list[str] = []

    def address(run_id: str) -> str:
        if not known:
            known.append(page_address(settings))
        return f"{known[0]}/runs/{run_id}" if known[0] else ""

    return address


def page_address(settings: Settings) -> str:
    """http://host:port of the page; empty where it does not run."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
            if environment.get(SERVICE) == WEB and environment.get("VIDPIPE_HOME") == str(settings.home):
                port = environment.get(PORT, "")
                return f"http://{_shown(settings.services.host)}:{port}" if port.isdigit() else ""
    return ""


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - listens everywhere: this machine's own name leads there
        import socket

        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
