"""Asks the model server: the `openai` client over a guarded transport, with retries and a time limit per answer.

The transport limits answers, sends the key over an unencrypted connection only to addresses that are not public, and
sends no headers but its own: neither the key nor the machine's details go anywhere through the environment.
"""

import asyncio
import ipaddress
import itertools
import json
import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import httpx2
import openai
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies

from vidpipe.errors import UnavailableError
from vidpipe.models.describing_model import ModelAnswer
from vidpipe.models.endpoint.address import CHAT_PATH, ServerAddress
from vidpipe.models.endpoint.errors import (
    EndpointError,
    connection_error,
    interrupted_error,
    overdue_error,
    status_error,
)
from vidpipe.models.endpoint.messages import FramesPayload, parse_response
from vidpipe.models.prompts import Prompt
from vidpipe.network.retry import RetryPolicy
from vidpipe.network.session import authorities
from vidpipe.settings.schema import QwenVL

#: Far more than the longest answer to a prompt; of an error, only its message is needed.
_MAX_ANSWER_BYTES, _MAX_ERROR_BYTES = 4 << 20, 64 << 10
_CONNECT_S = 10.0
_KEPT_HEADERS = ("host", "connection", "content-type", "content-length", "accept")

_log = logging.getLogger(__name__)

# at DEBUG they write prompts, and queries with tokens in them, into the log
for _logger in ("openai", "httpx2", "httpcore2"):
    logging.getLogger(_logger).setLevel(logging.WARNING)


def is_public(address: str) -> bool:
    """Return whether an IP address is on the public internet."""
    peer = ipaddress.ip_address(address.partition("%")[0])
    mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
    return (mapped or peer).is_global


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to one server, reads whole answers, and raises EndpointError for what goes wrong on the way."""

    def __init__(
        self, server: ServerAddress, *, connections: int, is_public: Callable[[str], bool] = is_public
    ) -> None:
        """Prepare connections; none is made yet.

        Args:
            server: The server.
            connections: Maximum number of open connections.
            is_public: Returns whether a peer's IP address is on the public internet.

        Raises:
            UnavailableError: The certificate authorities or the proxy of the environment cannot be used.
        """
        self._server = server
        self._is_public = is_public
        proxies = get_environ_proxies(server.url, no_proxy=None) if server.encrypted else {}
        try:
            self._inner = httpx2.AsyncHTTPTransport(
                verify=_tls_context() if server.encrypted else False,
                trust_env=False,
                proxy=proxies.get("https") or proxies.get("all"),
                limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
            )
        except (ImportError, ValueError) as error:
            raise UnavailableError(f"The proxy of HTTPS_PROXY cannot be used: {error}") from error

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return the whole response, whatever its status."""
        headers = {name: request.headers[name] for name in _KEPT_HEADERS if name in request.headers}
        headers |= {"Accept-Encoding": "identity", "User-Agent": "vidpipe"}
        extensions = request.extensions
        if self._server.has_key:
            headers["Authorization"] = f"Bearer {self._server.key.get_secret_value()}"
            if not self._server.encrypted:
                extensions = {**extensions, "trace": self._check_peer}
        sent = httpx2.Request(
            request.method, request.url, headers=headers, stream=request.stream, extensions=extensions
        )
        try:
            response = await self._inner.handle_async_request(sent)
        except (httpx2.TransportError, UnicodeError) as error:
            raise connection_error(self._server, error) from error
        try:
            body = await self._read(response)
        except httpx2.RequestError as error:
            raise interrupted_error(self._server, error) from error
        finally:
            await response.aclose()
        described = ("content-encoding", "content-length", "transfer-encoding")
        kept = {name: value for name, value in response.headers.items() if name not in described}
        return httpx2.Response(response.status_code, headers=kept, content=body)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()

    async def _read(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if response.status_code != httpx2.codes.OK and len(body) >= _MAX_ERROR_BYTES:
                return bytes(body[:_MAX_ERROR_BYTES])
            if len(body) > _MAX_ANSWER_BYTES:
                message = f"The answer of {self._server.shown} is longer than {_MAX_ANSWER_BYTES >> 20} MB."
                raise EndpointError(message, kind="request", status=response.status_code)
        return bytes(body)

    async def _check_peer(self, event: str, info: Mapping[str, Any]) -> None:
        """Check the peer of a new connection before anything is sent.

        The peer itself is checked, so that it does not matter how a name is resolved the next time.
        """
        if event != "connection.connect_tcp.complete":
            return
        stream = info["return_value"]
        if self._is_public(stream.get_extra_info("server_addr")[0]):
            await stream.aclose()
            raise EndpointError(
                f"The key is not sent to {self._server.shown}: the address is public and the connection unencrypted.",
                f"Use https:// for {self._server.setting} in [QwenVL], or reach the server through a tunnel or VPN.",
                kind="setup",
            )


def _tls_context() -> ssl.SSLContext:
    """Return a context with the certificate authorities of REQUESTS_CA_BUNDLE, or those of `requests`."""
    path = Path(authorities() or DEFAULT_CA_BUNDLE_PATH)
    return ssl.create_default_context(cafile=None if path.is_dir() else path, capath=path if path.is_dir() else None)


class EndpointClient:
    """Connections to one server, open while it is used as an asynchronous context."""

    def __init__(self, server: ServerAddress, settings: QwenVL, is_public: Callable[[str], bool]) -> None:
        """Prepare connections; none is made yet. Raises as GuardedTransport does."""
        self._server = server
        self._settings = settings
        self._policy = RetryPolicy(settings.request_retries + 1, settings.request_backoff, settings.request_max_wait)
        transport = GuardedTransport(server, connections=settings.requests_in_flight, is_public=is_public)
        timeout_s = settings.request_timeout
        query = dict(parse_qsl(urlsplit(server.url).query, keep_blank_values=True))
        self._openai = openai.AsyncOpenAI(
            api_key="sent by the transport",
            base_url=server.shown.removesuffix(CHAT_PATH),
            default_query=query if settings.api_style == "openai" else None,
            timeout=httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=transport, trust_env=False),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._openai.close()

    async def ask(self, payload: FramesPayload, prompt: Prompt, *, structured: bool) -> ModelAnswer:
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

    async def _attempt(self, payload: FramesPayload, prompt: Prompt, structured: bool) -> ModelAnswer:
        try:
            # httpx restarts its timeout with every byte; this one limits the whole answer
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
        return parse_response(answer, prompt, self._server, self._settings)

    async def _post(self, payload: FramesPayload, prompt: Prompt, structured: bool) -> httpx2.Response:
        if self._settings.api_style == "pai":
            body = payload.pai_body(prompt)
            return await self._openai.post(self._server.url, body=body, cast_to=httpx2.Response)
        parameters = payload.chat_parameters(prompt, structured=structured)
        raw = await self._openai.chat.completions.with_raw_response.create(**parameters)
        response: httpx2.Response = raw.http_response
        return response
