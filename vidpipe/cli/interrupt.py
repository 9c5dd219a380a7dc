"""Handling of Ctrl-C and SIGTERM.

The first Ctrl-C asks the work to stop cleanly, the second exits at once. SIGTERM does the same, and ends the command
within seconds whatever it is doing. The work runs in its own thread: the main thread stays free to receive the signal,
and no library used by the work can replace the signal handlers.
"""

import contextlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NoReturn, TypeVar

from vidpipe.cli.output import note

Task = TypeVar("Task", bound=Hashable)
Result = TypeVar("Result")

#: Exit code of an interrupted command.
INTERRUPTED = 130
_SHOW_CURSOR = b"\x1b[?25h\r\n"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: A command that is still running this long after SIGTERM is killed.
_TERM_LIMIT_S = 4.0
_REPEAT_AFTER_S = 0.05
#: Folders of commands that delete them at their end, and that `exit_now` deletes otherwise.
TEMPORARY: list[str] = []


def end_on_sigterm() -> None:
    """Turn SIGTERM into a KeyboardInterrupt in the main thread, which must call this.

    The process and its children are killed `_TERM_LIMIT_S` later if they are still running. Nothing is lost: stored
    data is consistent at any time.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    # Python's own handlers are delayed while the main thread is inside a C library, e.g. waiting for a name server.
    signal.set_wakeup_fd(sender.detach(), warn_on_full_buffer=False)
    threading.Thread(target=_end_after_sigterm, args=(receiver,), name="sigterm", daemon=True).start()


def repeat_lost_interrupts() -> None:
    """Raise a KeyboardInterrupt again that Python dropped inside a destructor or a weak reference's callback."""

    def on_unraisable(args: Any) -> None:
        if issubclass(args.exc_type, KeyboardInterrupt):
            # Not before the callback has returned; and as a signal, which also ends a sleep.
            again = (threading.main_thread().ident, signal.SIGINT)
            threading.Timer(_REPEAT_AFTER_S, signal.pthread_kill, again).start()
        else:
            sys.__unraisablehook__(args)

    sys.unraisablehook = on_unraisable


def _end_after_sigterm(receiver: socket.socket) -> None:
    while receiver.recv(1)[0] != signal.SIGTERM:
        pass
    time.sleep(_TERM_LIMIT_S)
    exit_now(signal.SIGTERM)


def exit_now(number: int) -> NoReturn:
    """Kill the child processes and exit at once with the exit code for the signal `number`."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    for name in TEMPORARY:
        shutil.rmtree(name, ignore_errors=True)
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), _SHOW_CURSOR)  # a progress display hides it
    os._exit(128 + number)


def stoppable(work: Callable[[threading.Event], Result], say: Callable[[str], None] = note) -> Result:
    """Run `work` and return its result. It receives an event that is set when it should stop.

    Args:
        work: The work to run, in its own thread.
        say: Prints a line; a progress display passes its own.
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
            exit_now(number)
        cancelled.set()
        say("Stopping in good order. Press Ctrl-C again to quit.")

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


def in_threads(
    work: Callable[[Task], Result | None], tasks: Sequence[Task], workers: int, cancelled: threading.Event,
    progress: Callable[[Task, float], None],
) -> dict[Task, Result]:  # fmt: skip
    """Return what `work` returns for each task, in the order of the tasks; None and what was cancelled are left out.

    Args:
        work: Does one task. If it raises another error than that it was cancelled, all other tasks are cancelled.
        tasks: The tasks.
        workers: Number of tasks that are done at the same time.
        cancelled: Set when the work should stop.
        progress: Called with each task that is done, and 1.
    """
    from vidpipe.network.fetch_errors import FetchCancelled
    from vidpipe.stages.contract import Cancelled

    found: dict[Task, Result] = {}

    def attempt(task: Task) -> None:
        with contextlib.suppress(Cancelled, FetchCancelled):
            if not cancelled.is_set():
                if (result := work(task)) is not None:
                    found[task] = result
                progress(task, 1.0)

    with ThreadPoolExecutor(workers, "work") as pool:
        try:
            for done in as_completed([pool.submit(attempt, task) for task in tasks]):
                done.result()
        except BaseException:  # the library is unreachable, or a bug: the other tasks are not done first
            cancelled.set()
            raise
    return {task: found[task] for task in tasks if task in found}
