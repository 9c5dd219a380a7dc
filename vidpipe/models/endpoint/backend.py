"""The describing model `endpoint`: a vision-language model that one or several servers run."""

import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import AsyncExitStack
from functools import partial

from anyio.from_thread import start_blocking_portal

from vidpipe.models.describing_model import DescribingModel, ModelReply, ModelRequest
from vidpipe.models.endpoint import client
from vidpipe.models.endpoint.address import server_addresses
from vidpipe.models.endpoint.client import EndpointClient
from vidpipe.models.endpoint.errors import EndpointError
from vidpipe.models.endpoint.messages import FramesPayload
from vidpipe.models.endpoint.scheduler import RequestScheduler
from vidpipe.models.endpoint.servers import EndpointServer
from vidpipe.models.prompts import Prompt
from vidpipe.settings import Settings

#: Increased whenever frames and prompts are sent in another way.
_METHOD = "endpoint-1"
#: What `vidpipe doctor` asks, and the time limit of the answer.
_HELLO, _DOCTOR_TIMEOUT_S = Prompt("hello", "video", "Say yes.", max_tokens=4), 30.0
_CHECK_CANCELLED_S = 0.05


class EndpointModel(DescribingModel):
    """Asks servers, greedily. Connections are open during `answer` only."""

    def __init__(self, settings: Settings, *, is_public: Callable[[str], bool] = client.is_public) -> None:
        """Check the addresses and the key.

        Args:
            settings: The settings.
            is_public: Returns whether the IP address of a server is on the public internet.

        Raises:
            UnavailableError: An address is missing or invalid, or the key cannot be sent.
        """
        self._settings = settings.qwen_vl
        self._servers = [EndpointServer(address) for address in server_addresses(self._settings)]
        self._is_public = is_public

    @property
    def name(self) -> str:
        """The model's name on the server."""
        return self._settings.model

    @property
    def version(self) -> str:
        """Identifies the model and how it is asked, not the server."""
        asked = self._settings
        form = "video_url" if asked.api_style == "pai" else asked.video_format
        most = f":{asked.max_frames}" if asked.max_frames else ""
        return f"{_METHOD}:{asked.model}:{asked.api_style}:{form}:greedy{most}"

    def readiness(self) -> str:
        """Ask every server for a word. Raises EndpointError if one does not answer."""
        if self._settings.api_style == "pai":
            shown = ", ".join(server.address.shown for server in self._servers)
            return f"at {shown}; not asked, since it answers to videos only"
        once = self._settings.model_copy(update={"request_timeout": _DOCTOR_TIMEOUT_S})

        async def hello(server: EndpointServer) -> str | EndpointError:
            start = time.perf_counter()
            try:
                async with EndpointClient(server, once, self._is_public) as client:
                    await client.ask(FramesPayload(once, ()), _HELLO)
            except EndpointError as error:
                return error
            return f"at {server.address.shown}, answered in {time.perf_counter() - start:.1f} s"

        with start_blocking_portal(name="endpoint") as portal:
            found = [portal.call(hello, server) for server in self._servers]
        errors = [answer for answer in found if isinstance(answer, EndpointError)]
        if errors:
            raise EndpointError(" ".join(error.message for error in errors), errors[0].hint, kind=errors[0].kind)
        return "; ".join(map(str, found))

    def answer(self, requests: Sequence[ModelRequest], cancelled: threading.Event) -> Iterator[ModelReply]:
        """Yield replies as they are completed; see DescribingModel. An error may come with the answers before it."""
        if not requests or cancelled.is_set():
            return
        clients = {server: EndpointClient(server, self._settings, self._is_public) for server in self._servers}
        connections = AsyncExitStack()
        for opened in clients.values():
            connections.push_async_exit(opened)
        load = partial(FramesPayload.of, settings=self._settings)
        scheduler = RequestScheduler(requests, load, clients, self._settings)
        with start_blocking_portal(name="endpoint") as portal, portal.wrap_async_context_manager(connections):
            replies = scheduler.replies()
            try:
                while True:
                    future = portal.start_task_soon(_next, replies)
                    while not wait([future], timeout=_CHECK_CANCELLED_S).done:
                        if cancelled.is_set():
                            portal.call(scheduler.cancel)
                    reply = future.result()
                    if reply is None or cancelled.is_set():
                        return
                    yield reply
            finally:
                portal.call(scheduler.cancel)

    def server_use(self) -> Mapping[str, Mapping[str, float]]:
        """Return how busy each server was; see DescribingModel."""
        return {server.address.shown: server.meter.use() for server in self._servers}


async def _next(replies: AsyncGenerator[ModelReply, None]) -> ModelReply | None:
    return await anext(replies, None)
