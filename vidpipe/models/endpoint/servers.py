"""The model servers: the order in which they are asked about a video, which of them are skipped, how busy each is."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from vidpipe.models.endpoint.address import ServerAddress
from vidpipe.models.endpoint.errors import EndpointError


class BusyMeter:
    """Measures the use of one server. Thread-safe: requests are sent from one thread and figures read from another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight = 0
        self._counted_at: float | None = None
        self._use: Counter[str] = Counter()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count the block as a request; as a failed one if it raises EndpointError."""
        self.use(1)
        try:
            yield
        except EndpointError:
            self._use["failures"] += 1
            raise
        finally:
            self._use["requests"] += 1
            self.use(-1)

    def use(self, started: int = 0) -> Mapping[str, float]:
        """Return the figures up to now (see DescribingModel.server_use), then count so many requests as in flight."""
        with self._lock:
            now = time.monotonic()
            passed_s = now - (self._counted_at or now)
            busy = {"busy_seconds": passed_s * bool(self._in_flight), "request_seconds": passed_s * self._in_flight}
            self._use.update({"seconds": passed_s, **busy})
            self._in_flight += started
            self._counted_at = now if started else self._counted_at and now
            return self._use.copy()


@dataclass(eq=False)
class EndpointServer:
    """A server and what is known about it, kept between calls of the model.

    Attributes:
        address: Where it is.
        skipped: Why it is not asked at present; None if it is.
        failures: Failed requests since its last answer.
        unstructured: Forms whose schema it rejected.
        meter: Its use.
    """

    address: ServerAddress
    skipped: EndpointError | None = None
    failures: int = 0
    unstructured: set[str] = field(default_factory=set)
    meter: BusyMeter = field(default_factory=BusyMeter)


def server_order(video: str, servers: Iterable[EndpointServer]) -> list[EndpointServer]:
    """Return the servers in the order in which they are asked about a video: each one if those before it are skipped.

    Rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998): a server that
    is added or removed moves only the videos that it gets or had, so that the others stay in the caches of theirs.

    Args:
        video: sha256 of the video.
        servers: The servers, in any order.
    """

    def weight(server: EndpointServer) -> bytes:
        return hashlib.sha256(f"{video} {server.address.shown}".encode()).digest()

    return sorted(servers, key=weight, reverse=True)
