"""The end of a command, without pymongo's exit handler: it waits half a second for sleeping threads of a closed client.

Exit handlers run in the reverse order of their registration. So the one registered here, once pymongo is imported, ends
the process after the handlers that were registered since (temporary folders are deleted) and before pymongo's.
"""

import atexit
import logging
import os
import sys

_codes: list[int] = []


def skip_pymongo(code: int) -> None:
    """Declare that the process is ending with the exit code `code` and nothing is left to do for pymongo."""
    _codes.append(code)


def exit_before_pymongo() -> None:
    """Register the handler. Call it after importing pymongo."""
    atexit.register(_exit)


def _exit() -> None:
    if not _codes:  # in a process that is no command, or ends by an error
        return
    code = _codes[-1]
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # the reader has closed the pipe
        code = code or 1
    os._exit(code)
