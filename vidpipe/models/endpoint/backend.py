"""The describing model `endpoint`: a vision-language model that a server runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from vidpipe.settings import Settings
from vidpipe.vlm.endpoint.address import server_of
from vidpipe.vlm.endpoint.client import Client
from vidpipe.vlm.endpoint.faults import Fault
from vidpipe.vlm.endpoint.payload import Payload
from vidpipe.vlm.endpoint.reading import Said
from vidpipe.vlm.endpoint.rounds import Rounds
from vidpipe.vlm.model import Reply, Request
from vidpipe.vlm.prompts import Prompt

#: Raised whenever frames and prompts are put to a server in another way.
_METHOD = "endpoint-1"
#: What `vidpipe doctor` asks, and the seconds that the answer may take.
_HELLO, _DOCTOR_S = Prompt("hello", "video", "Say yes.", max_tokens=4), 30.0


class EndpointModel:
    """Asks a server, greedily. Connections are made by `answer`, and closed at its end."""

    measured = False

    def __init__(self, settings: Settings) -> None:
        """Raises UnavailableError where the address is missing or none, or the key cannot be sent."""
        self._settings = settings.qwen_vl
        self._server = server_of(self._settings)
        #: Forms whose schema this server did not take.
        self._not_held_to: set[str] = set()

    @property
    def name(self) -> str:
        return self._settings.model

    @property
    def version(self) -> str:
        """Of the model as the server names it, and of how it is asked; which server that is does not count."""
        asked = self._settings
        form = "video_url" if asked.api_style == "pai" else asked.video_format
        most = f":{asked.max_frames}" if asked.max_frames else ""
        return f"{_METHOD}:{asked.model}:{asked.api_style}:{form}:greedy{most}"

    def texts(self) -> Mapping[str, str]:
        return {}

    def readiness(self) -> str:
        """The server is asked to say a word. Raises Fault where it does not."""
        if self._settings.api_style == "pai":
            return f"at {self._server.shown}; not asked, since it answers to videos only"
        once = self._settings.model_copy(update={"request_retries": 0, "request_timeout": _DOCTOR_S})
        client = Client(self._server, once, threading.Event())
        began = time.perf_counter()
        try:
            client.ask(Payload(once, ()).body(_HELLO, held_to_schema=False))
        finally:
            client.stop()
            client.close()
        return f"at {self._server.shown}, said a word in {time.perf_counter() - began:.1f} s"

    def basis(self, request: Request) -> str:
        return request.frames.version if request.frames else "none"

    def answer(self, requests: Sequence[Request], cancelled: threading.Event) -> Iterator[Reply]:
        """Replies as they are whole; see DescribingModel. An error may come with the answers that were there before."""
        if not requests or cancelled.is_set():
            return
        client = Client(self._server, self._settings, cancelled)

        def read(request: Request) -> Payload:
            return Payload.of(request, self._settings)

        def ask(payload: Payload, prompt: Prompt) -> Said:
            return self._ask(client, payload, prompt)

        rounds = Rounds(requests, read, ask, at_once=self._settings.requests_in_flight)
        try:
            yield from rounds.replies(cancelled, client.stop)
        finally:
            client.close()

    def close(self) -> None:
        """Nothing is open between two calls of `answer`."""

    def _ask(self, client: Client, payload: Payload, prompt: Prompt) -> Said:
        """One prompt, held to the schema of its form where the server can do that."""
        form = prompt.form
        held = form.schema is not None and self._settings.api_style == "openai" and form.name not in self._not_held_to
        try:
            return client.ask(payload.body(prompt, held_to_schema=held))
        except Fault as fault:
            if not held or fault.status not in (400, 422):
                raise
        said = client.ask(payload.body(prompt, held_to_schema=False))
        self._not_held_to.add(form.name)
        return said
