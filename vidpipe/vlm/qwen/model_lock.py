"""One model at a time: a lock that the processes of one home take before they load weights.

It is the operating system's, so a process that was killed holds it no longer.
"""

from __future__ import annotations

import os
import platform

from filelock import FileLock, Timeout

from vidpipe.errors import UnavailableError
from vidpipe.settings import Settings, notice


class ModelLock:
    """The right to hold a model's weights; one process of a home has it. Any of its threads may free it."""

    def __init__(self, settings: Settings) -> None:
        # by machine: several that share a home on a network disk have a GPU each
        self._path = settings.data_directory / "run" / f"model-{platform.node() or 'machine'}.lock"
        self._holder = self._path.with_suffix(".holder")
        self._lock = FileLock(self._path, thread_local=False)

    def take(self, model: str) -> bool:
        """False where another process has it. Raises UnavailableError where it cannot be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._holder.write_text(f"{os.getpid()} {model}", "utf-8")
        except Timeout:
            return False
        except (OSError, NotImplementedError) as error:
            self._lock.release()
            raise UnavailableError(
                f"The lock {self._path} cannot be taken: {error}.",
                "It keeps two runs from loading the model twice. Make the folder writable, on a disk of this machine.",
            ) from error
        return True

    def free(self) -> None:
        self._holder.unlink(missing_ok=True)
        self._lock.release()

    def say_who(self) -> None:
        """Tells the user, and the log, whom this process waits for."""
        try:
            process, _, model = self._holder.read_text("utf-8").partition(" ")
        except (OSError, ValueError):
            process, model = "", ""
        who = f"process {process} holds it ({model})" if process.isdigit() else "another process holds it"
        notice(f"Waiting for the model: {who}; how long that takes is not known. One process at a time loads it.")
