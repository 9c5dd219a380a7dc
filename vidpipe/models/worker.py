"""Models that run in a process of their own, so that a crash in native code fails one video and not the run.

The process (`worker_process`) is started by the first request and after a crash. Requests are pickled; answers are
JSON, because the process examines untrusted pictures and sound.
"""

import contextlib
import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import IO, Any

from vidpipe.errors import MediaError, UnavailableError
from vidpipe.models.installed import InstalledModel
from vidpipe.text.words import digest

_POLL_S = 0.2
_END_S = 2.0
_MESSAGE_BYTES = 300
#: The largest answer: results of one video are stored in a document of at most 16 MB.
_MOST_BYTES = 64 << 20


class WorkerStoppedError(Exception):
    """The request was cancelled; the process has been ended."""


class WorkerModel:
    """A model in a process of its own: a resource of an analysis. Requests of several threads wait for each other.

    Args:
        installed: The models it uses.
        load: "module:function", called in the process with `arguments`; it returns the function that answers requests.
        arguments: What results depend on besides the models; plain JSON.
        threads: Threads that the process may use. The function `load` gets it as `threads`.
        packages: Modules that `load` imports.

    Raises:
        UnavailableError: One of the packages is not installed.
    """

    def __init__(
        self,
        installed: Sequence[InstalledModel],
        load: str,
        arguments: Mapping[str, Any],
        *,
        threads: int,
        packages: Sequence[str] = (),
    ) -> None:
        if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
            extra = "qwen" if "torch" in packages else "analyses"
            raise UnavailableError(
                f"The package {missing[0]} is not installed.", f"Run `pip install 'vidpipe[{extra}]'`."
            )
        self.installed = tuple(installed)
        self._load = load
        self._arguments = dict(arguments)
        self._threads = threads
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._messages: IO[bytes] | None = None

    @property
    def name(self) -> str:
        """The name of the first model."""
        return self.installed[0].name

    @property
    def version(self) -> str:
        """Identifies models, their cards and arguments."""
        hashes = [f"{model.name} {model.version} {model.sha256}" for model in self.installed]
        cards = [dict(model.card) for model in self.installed]
        return digest(*hashes, json.dumps([self._arguments, *cards], sort_keys=True))

    @property
    def uses(self) -> tuple[dict[str, str], ...]:
        """What results record of the models."""
        return tuple(model.use for model in self.installed)

    def texts(self) -> Mapping[str, str]:
        """Return the texts for the lineage by their hash: none."""
        return {}

    def call(self, request: Any, cancelled: threading.Event) -> Any:
        """Return the answer to a request, as plain JSON types.

        Raises:
            MediaError: The model cannot process this request, or its process crashed.
            UnavailableError: The model cannot be loaded: a file is damaged, a package is missing.
            WorkerStoppedError: `cancelled` was set.
        """
        with self._lock:
            connection = self._connection or self._load_model(cancelled)
            try:
                connection.send(request)
                answer = self._answer(connection, cancelled)
            except (EOFError, OSError, ValueError):
                hint = "The model cannot process this video, or memory ran out."
                raise MediaError(f"The process of the model {self.name} {self._end()}.", hint) from None
        if "error" in answer:
            raise MediaError(f"{self.name}: {answer['error']}")
        return answer["value"]

    def close(self) -> None:
        """End the process; another request would start it again."""
        with self._lock:
            self._stop()

    def _load_model(self, cancelled: threading.Event) -> "Connection[Any, Any]":
        """Start the process and wait until it has loaded the model."""
        from vidpipe.media import programs  # not needed by commands that only show results

        connection, theirs = Pipe()
        self._connection, self._messages = connection, tempfile.TemporaryFile()  # noqa: SIM115 - closed by _stop
        command = [sys.executable, "-P", "-m", "vidpipe.models.worker_process", str(theirs.fileno()), self._load]
        with theirs:
            self._process = programs.spawn(
                command, stdout=subprocess.DEVNULL, stderr=self._messages, pass_fds=[theirs.fileno()]
            )
        folders = {model.name: model.folder for model in self.installed}
        cards = {model.name: dict(model.card) for model in self.installed}
        try:
            connection.send({"folders": folders, "cards": cards, "threads": self._threads, **self._arguments})
            why = self._answer(connection, cancelled).get("error", "")
        except (EOFError, OSError, ValueError):
            why = f"its process {self._end()}"
        if why:
            self._stop()
            raise UnavailableError(
                f"The model {self.name} cannot be loaded: {why}.",
                f"Check its settings, and its files with `vidpipe models verify {self.name}`.",
            )
        return connection

    def _answer(self, connection: "Connection[Any, Any]", cancelled: threading.Event) -> dict[str, Any]:
        while not connection.poll(_POLL_S):
            if cancelled.is_set():
                self._stop()
                raise WorkerStoppedError
        answer: dict[str, Any] = json.loads(connection.recv_bytes(_MOST_BYTES))
        return answer

    def _stop(self) -> None:
        for opened in (self._connection, self._messages):
            if opened is not None:
                with contextlib.suppress(OSError):
                    opened.close()
        if self._process is not None:
            from vidpipe.media import programs

            programs.stop(self._process)
        self._connection = self._messages = self._process = None

    def _end(self) -> str:
        """Forget the process, and return how it ended: by itself, or here because it wrote nonsense."""
        assert self._process is not None  # noqa: S101
        assert self._messages is not None  # noqa: S101
        try:
            code = self._process.wait(timeout=_END_S)
            how = f"ended ({f'signal {signal.Signals(-code).name}' if code < 0 else f'exit code {code}'})"
        except subprocess.TimeoutExpired:
            how = "sent no valid answer"
        self._messages.seek(max(0, self._messages.seek(0, 2) - _MESSAGE_BYTES))
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        self._stop()
        return f"{how}: {lines[-1].strip()}" if lines else how
