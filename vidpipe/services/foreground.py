"""`vidpipe up --foreground`: stays with the servers, starts again what dies, stops all at the end."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from vidpipe.errors import VidpipeError
from vidpipe.library import embedded
from vidpipe.services.service import find_running
from vidpipe.services.station import Say, down, up
from vidpipe.settings import Settings

_LOOK_EVERY_S = 5.0
_LONGEST_WAIT_S = 60.0


def watch(settings: Settings, say: Say) -> None:
    """Until Ctrl-C or SIGTERM; then all servers are stopped in good order."""
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    wanted = set(find_running(settings.home))
    wait_s = _LOOK_EVERY_S
    try:
        while not ended.wait(wait_s):
            missing = wanted - set(find_running(settings.home))
            if embedded.is_embedded(settings) and embedded.find(settings) is None:
                missing.add("mongod")
            if not missing:
                wait_s = _LOOK_EVERY_S
                continue
            say(f"Ended without being asked to: {', '.join(sorted(missing))}.")
            try:
                up(settings, say)
            except VidpipeError as error:
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                say(f"{error} Next try in {wait_s:.0f} s.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        say("Stopping …")
        down(settings, say)
