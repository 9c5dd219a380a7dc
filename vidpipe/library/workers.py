"""The processes of `vidpipe worker`: each says every few seconds that it is there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from vidpipe.library import server_clock
from vidpipe.library.schema import Collections

BEAT_S = 5.0
#: A worker that has not said anything for this long is not counted on.
_SILENT = timedelta(seconds=4 * BEAT_S)


@dataclass(frozen=True)
class Worker:
    """A process that takes runs.

    Attributes:
        name: Of its process, see `vidpipe.library.process_names`.
        queues: The queues that it serves.
        slots: Runs that it executes at once.
        runs: Ids of the runs that it has taken and not finished.
        since: When it joined.
        specs: Stage -> its spec, which is the same on all machines with the same settings and rules.
    """

    name: str
    queues: Sequence[str]
    slots: int
    runs: Sequence[str]
    since: datetime
    specs: Mapping[str, str]

    @property
    def machine(self) -> str:
        """The name of its machine."""
        return self.name.partition("|")[0]


class Workers:
    """Who takes runs now."""

    def __init__(self, collections: Collections) -> None:
        self._workers = collections["workers"]

    def beat(
        self, name: str, queues: Sequence[str], slots: int, runs: Iterable[str] = (),
        specs: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """Record that a worker is there, and with what."""
        values = {"queues": list(queues), "slots": slots, "runs": list(runs), "specs": dict(specs)}
        change = {"$set": values, "$currentDate": {"seen_at": True}, "$setOnInsert": {"since": server_clock.now()}}
        self._workers.update_one({"_id": name}, change, upsert=True)

    def leave(self, name: str) -> None:
        """Record that a worker takes no more runs."""
        self._workers.delete_one({"_id": name})

    def present(self) -> list[Worker]:
        """Return those that take runs now, by name."""
        found = self._workers.find({"seen_at": {"$gt": server_clock.now() - _SILENT}}).sort("_id")
        return [
            Worker(row["_id"], row["queues"], row["slots"], row["runs"], row["since"], row.get("specs", {}))
            for row in found
        ]
