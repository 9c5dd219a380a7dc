"""Dagster's daemon (`python -m vidpipe.services.daemon run …`), which also restarts a dead supervisor."""

from __future__ import annotations

import contextlib
import os
import threading
import time

from vidpipe.errors import VidpipeError
from vidpipe.pipeline import daemon
from vidpipe.services.servers import services_of
from vidpipe.services.service import FINGERPRINT, find_running, resume
from vidpipe.services.state import is_desired
from vidpipe.services.station import locked
from vidpipe.settings import Settings, find_home, load

_LOOK_EVERY_S = 10.0


def main() -> None:
    fingerprint = os.environ.get(FINGERPRINT)
    if fingerprint:
        settings = load(find_home()).settings
        threading.Thread(target=_watch_supervisor, args=(settings, fingerprint), daemon=True).start()
    daemon.main()


def _watch_supervisor(settings: Settings, fingerprint: str) -> None:
    while True:
        time.sleep(_LOOK_EVERY_S)
        found = find_running(settings.home).get("supervisor")
        if found is not None:
            resume(found.process)
            continue
        with contextlib.suppress(VidpipeError, OSError), locked(settings, 0):
            running = find_running(settings.home)
            if is_desired(settings, fingerprint) and "supervisor" not in running:
                services_of(settings, running)["supervisor"].launch(fingerprint)


if __name__ == "__main__":
    main()
