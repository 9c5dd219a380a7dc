"""Ctrl-C: the first asks the work to stop cleanly, the second exits at once. SIGTERM does the same, and ends the
command within seconds whatever it is doing.

The work is done in a thread of its own, so that the main thread is free to hear the signal (and so that no library
that the work uses can put a handler of its own in the place of this one).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from vidpipe.cli.output import note

Result = TypeVar("Result")

_SHOW_CURSOR = b"\x1b[?25h\r\n"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: A command that is still running this long after SIGTERM is killed.
_TERM_LIMIT_S = 4.0


def end_on_sigterm() -> None:
    """Makes SIGTERM a KeyboardInterrupt in the main thread, which calls this, and ends the process and its children
    `_TERM_LIMIT_S` later if they still run. That loses nothing: stored data are consistent at any moment."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    # Python's own handlers are delayed while the main thread is inside a C library, waiting for a name server say.
    signal.set_wakeup_fd(sender.detach(), warn_on_full_buffer=False)
    threading.Thread(target=_end_after_sigterm, args=(receiver,), name="sigterm", daemon=True).start()


def _end_after_sigterm(receiver: socket.socket) -> None:
    while receiver.recv(1)[0] != signal.SIGTERM:
        pass
    time.sleep(_TERM_LIMIT_S)
    leave(signal.SIGTERM)


def leave(number: int) -> NoReturn:
    """Kills the child processes and exits at once, with the exit code for the signal `number`."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), _SHOW_CURSOR)  # a progress display hides it
    os._exit(128 + number)


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
            leave(number)
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
