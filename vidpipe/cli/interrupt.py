"""Ctrl-C: the first asks the work to stop in good order, the second leaves at once.

The work is done in a thread of its own, so that the main thread is free to hear the signal (and so that no library
that the work uses can put a handler of its own in the place of this one).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from vidpipe.cli.output import note

Result = TypeVar("Result")

_SHOW_CURSOR = b"\x1b[?25h\r\n"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stoppable(work: Callable[[threading.Event], Result], say: Callable[[str], None] = note) -> Result:
    """What `work` returns or raises. It is given an event that is set when it is to stop.

    say: tells the user, also what the work has to say itself; a progress display gives its own.
    """
    from vidpipe.settings import notices_shown

    cancelled = threading.Event()
    ended: list[Result] = []
    fault: list[BaseException] = []

    def target() -> None:
        try:
            ended.append(work(cancelled))
        except BaseException as error:  # raised again in the main thread
            fault.append(error)

    def on_signal(number: int, frame: Any) -> None:
        if cancelled.is_set():
            if sys.stderr.isatty():
                os.write(sys.stderr.fileno(), _SHOW_CURSOR)  # a progress display hides it
            os._exit(128 + number)
        cancelled.set()
        say("Stopping: what is finished is being stored. Once more leaves at once.")

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        thread = threading.Thread(target=target, name="work")
        with notices_shown(say):
            thread.start()
            while thread.is_alive():
                thread.join(0.2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if fault:
        raise fault[0]
    return ended[0]
