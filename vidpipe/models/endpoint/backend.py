"""The describing model `endpoint`: a vision-language model that a server runs."""

import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import wait
from functools import partial

from anyio.from_thread import start_blocking_portal

from vidpipe.models.describing_model import DescribingModel, ModelAnswer, ModelReply, ModelRequest
from vidpipe.models.endpoint import client
from vidpipe.models.endpoint.address import server_address
from vidpipe.models.endpoint.client import EndpointClient
from vidpipe.models.endpoint.errors import EndpointError
from vidpipe.models.endpoint.messages import FramesPayload
from vidpipe.models.endpoint.scheduler import RequestScheduler
from vidpipe.models.prompts import Prompt
from vidpipe.settings import Settings

#: Increased whenever frames and prompts are sent in another way.
_METHOD = "endpoint-1"
#: What `vidpipe doctor` asks, and the time limit of the answer.
_HELLO, _DOCTOR_TIMEOUT_S = Prompt("hello", "video", "Say yes.", max_tokens=4), 30.0
_CHECK_CANCELLED_S = 0.05


class EndpointModel(DescribingModel):
    """Asks a server, greedily. Connections are open during `answer` only."""

    def __init__(self, settings: Settings, *, is_public: Callable[[str], bool] = client.is_public) -> None:
        """Check the address and the key.

        Args:
            settings: The settings.
            is_public: Returns whether the IP address of a server is on the public internet.

        Raises:
            UnavailableError: The address is missing or invalid, or the key cannot be sent.
        """
        self._settings = settings.qwen_vl
        self._server = server_address(self._settings)
        self._is_public = is_public
        #: Forms whose schema this server rejected.
        self._unstructured: set[str] = set()

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
        """Ask the server for a word. Raises EndpointError if it does not answer."""
        if self._settings.api_style == "pai":
            return f"at {self._server.shown}; not asked, since it answers to videos only"
        once = self._settings.model_copy(update={"request_retries": 0, "request_timeout": _DOCTOR_TIMEOUT_S})

        async def hello() -> None:
            async with EndpointClient(self._server, once, self._is_public) as client:
                await client.ask(FramesPayload(once, ()), _HELLO, structured=False)

        start = time.perf_counter()
        with start_blocking_portal(name="endpoint") as portal:
            portal.call(hello)
        return f"at {self._server.shown}, answered in {time.perf_counter() - start:.1f} s"

    def answer(self, requests: Sequence[ModelRequest], cancelled: threading.Event) -> Iterator[ModelReply]:
        """Yield replies as they are completed; see DescribingModel. An error may come with the answers before it."""
        if not requests or cancelled.is_set():
            return
        client = EndpointClient(self._server, self._settings, self._is_public)
        load = partial(FramesPayload.of, settings=self._settings)
        ask = partial(self._ask, client)
        scheduler = RequestScheduler(requests, load, ask, concurrency=self._settings.requests_in_flight)
        with start_blocking_portal(name="endpoint") as portal, portal.wrap_async_context_manager(client):
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

    async def _ask(self, client: EndpointClient, payload: FramesPayload, prompt: Prompt) -> ModelAnswer:
        """Ask one prompt, with structured output if the server supports it."""
        form = prompt.form
        structured = bool(form.schema) and self._settings.api_style == "openai" and form.name not in self._unstructured
        try:
            return await client.ask(payload, prompt, structured=structured)
        except EndpointError as error:
            if not structured or error.status not in (400, 422):
                raise
        answer = await client.ask(payload, prompt, structured=False)
        self._unstructured.add(form.name)
        return answer


async def _next(replies: AsyncGenerator[ModelReply, None]) -> ModelReply | None:
    return await anext(replies, None)
