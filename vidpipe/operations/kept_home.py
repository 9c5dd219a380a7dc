"""The library of a home, kept open by a process and opened again when settings, rules or prompts change."""

import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.search.engine import Engine
from vidpipe.search.index import SearchIndex
from vidpipe.settings import Settings
from vidpipe.settings.home import CONFIG_NAME, LOCAL_CONFIG_NAME
from vidpipe.stages.registry import build_graph
from vidpipe.tagging.rule_files import files_of_rules

#: A library that is replaced is closed after this time: no other thread uses it for longer.
_CLOSE_AFTER_S = 300.0


@dataclass(frozen=True)
class OpenHome:
    """A library as the current settings describe it.

    Attributes:
        settings: The settings.
        library: The library.
        plan: All stages under these settings, which tells how current each video is.
        engine: Answers searches.
        index: What it answers from.
    """

    settings: Settings
    library: Library
    plan: Plan
    engine: Engine
    index: SearchIndex

    def close(self) -> None:
        """Close the library."""
        self.plan.close()
        self.library.close()


class KeptHome:
    """The open library of a process. All threads share it.

    Args:
        load: Returns the settings in force.
        note: Told in a sentence what takes long.
        look_s: How often settings, rules and prompts are looked at; 0: each time the library is asked for.
        config: The file that settings are read from instead of config.ini.

    Attributes:
        settings: Those of the start.
        config: The file that they are read from.
        current: The library if it is open, as it was opened last.

    Raises:
        VidpipeError: The settings are invalid.
    """

    def __init__(
        self,
        load: Callable[[], Settings],
        note: Callable[[str], None],
        look_s: float = 0.0,
        config: Path | None = None,
    ) -> None:
        self._load = load
        self.settings = load()
        self.config = config or self.settings.home / CONFIG_NAME
        self._note = note
        self._look_s = look_s
        self._mutex = threading.Lock()
        self.current: OpenHome | None = None
        self._seen = ""
        self._looked_at = 0.0

    def opened(self) -> OpenHome:
        """Return the open library.

        Raises:
            VidpipeError: The library cannot be opened, or changed settings or rules are invalid.
        """
        with self._mutex:
            if self.current is None or time.monotonic() - self._looked_at > self._look_s:
                self._looked_at = time.monotonic()
                seen = _state_of_files(self.current.settings if self.current else self.settings, self.config)
                if self.current is None or seen != self._seen:
                    self._open(seen)
            assert self.current is not None  # noqa: S101 - opened, or an error was raised
            return self.current

    def reload(self) -> None:
        """Look at settings and rules when the library is asked for next."""
        self._looked_at = 0.0

    def _open(self, seen: str) -> None:
        settings = self._load()
        graph = build_graph(settings)
        plan = Plan.make(graph, settings)
        library = Library.open(settings, graph)
        index = SearchIndex(library, self._note)
        former, self._seen = self.current, seen
        self.current = OpenHome(settings, library, plan, Engine(library, plan.specs, index), index)
        if former is not None:
            timer = threading.Timer(_CLOSE_AFTER_S, former.close)
            timer.daemon = True
            timer.start()

    def close(self) -> None:
        """Close the library; it is opened again when it is asked for."""
        with self._mutex:
            if self.current is not None:
                self.current.close()
                self.current = None


def _state_of_files(settings: Settings, config: Path) -> str:
    """Return a hash that changes with config.ini and the files of rules and prompts."""
    digest = hashlib.sha256()
    for path in (config, settings.home / LOCAL_CONFIG_NAME, *files_of_rules(settings)):
        with suppress(OSError):
            stat = path.stat()
            digest.update(f"{path}|{stat.st_mtime_ns}|{stat.st_size}\n".encode())
    return digest.hexdigest()
