"""Asks the model server: the `openai` client over a guarded transport, with retries and a time limit per answer."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Callable
from typing import Self

import httpx2
import openai

from vidpipe.models.endpoint.address import ServerAddress
from vidpipe.models.endpoint.errors import EndpointError, overdue_error, status_error
from vidpipe.models.endpoint.payload import FramesPayload
from vidpipe.models.endpoint.response_parsing import ServerAnswer, parse_response
from vidpipe.models.endpoint.transport import GuardedTransport
from vidpipe.models.prompts import Prompt
from vidpipe.network.retry import RetryPolicy
from vidpipe.settings.schema import QwenVL

_CONNECT_S = 10.0

_log = logging.getLogger(__name__)


class EndpointClient:
    """Connections to one server, open while it is used as an asynchronous context."""

    def __init__(self, server: ServerAddress, settings: QwenVL, is_public: Callable[[str], bool]) -> None:
        """Prepare connections; none is made yet. Raises as GuardedTransport does."""
        self._server = server
        self._settings = settings
        self._policy = RetryPolicy(settings.request_retries + 1, settings.request_backoff, settings.request_max_wait)
        transport = GuardedTransport(server, connections=settings.requests_in_flight, is_public=is_public)
        timeout_s = settings.request_timeout
        self._openai = openai.AsyncOpenAI(
            api_key="sent by the transport",
            base_url=server.base_url,
            default_query=server.query if settings.api_style == "openai" else None,
            timeout=httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=transport, trust_env=False),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._openai.close()

    async def ask(self, payload: FramesPayload, prompt: Prompt, *, structured: bool) -> ServerAnswer:
        """Return the answer to one prompt, with retries of transient errors. Raises EndpointError."""
        for failures in itertools.count(1):
            try:
                return await self._attempt(payload, prompt, structured)
            except EndpointError as error:
                if not error.retryable:
                    raise
                if failures > self._settings.request_retries:
                    raise error.repeated(failures) from error
                wait_s = self._policy.wait_s(failures, error.retry_after_s)
                _log.info("%s Retrying in %.1f s.", error.message, wait_s)
            await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    async def _attempt(self, payload: FramesPayload, prompt: Prompt, structured: bool) -> ServerAnswer:
        try:
            # a timeout of httpx starts anew with every byte; this one limits the whole answer
            async with asyncio.timeout(self._settings.request_timeout):
                response = await self._post(payload, prompt, structured)
        except TimeoutError:
            raise overdue_error(self._server, self._settings.request_timeout) from None
        except openai.APIStatusError as error:
            response = error.response
            raise status_error(self._server, response.status_code, response.headers, response.content) from None
        try:
            answer = json.loads(response.content)
        except (ValueError, RecursionError) as error:
            message = f"The answer of {self._server.shown} is not JSON."
            raise EndpointError(message, kind="transient", status=response.status_code) from error
        return parse_response(answer, self._server, self._settings)

    async def _post(self, payload: FramesPayload, prompt: Prompt, structured: bool) -> httpx2.Response:
        if self._settings.api_style == "pai":
            body = payload.pai_body(prompt)
            return await self._openai.post(self._server.url, body=body, cast_to=httpx2.Response)
        parameters = payload.chat_parameters(prompt, structured=structured)
        raw = await self._openai.chat.completions.with_raw_response.create(**parameters)
        response: httpx2.Response = raw.http_response
        return response
