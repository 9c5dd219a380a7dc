"""Asks a model server: the `openai` client over a guarded transport, with a time limit per answer.

The transport limits answers, sends the key over an unencrypted connection only to addresses that are not public, and
sends no headers but its own: neither the key nor the machine's details go anywhere through the environment.
"""

import asyncio
import ipaddress
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
from vidpipe.models.endpoint.servers import EndpointServer
from vidpipe.models.prompts import Prompt
from vidpipe.network.session import authorities
from vidpipe.settings.schema import QwenVL

#: Far more than the longest answer to a prompt; of an error, only its message is needed.
_MAX_ANSWER_BYTES, _MAX_ERROR_BYTES = 4 << 20, 64 << 10
_CONNECT_S = 10.0
#: Further attempts to connect, 0 and 0.5 s later: one refused connection does not mean that a server is gone.
_CONNECT_RETRIES = 2
_PROBE_TIMEOUT = httpx2.Timeout(10.0, connect=3.0)
_KEPT_HEADERS = ("host", "connection", "content-type", "content-length", "accept")

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
                retries=_CONNECT_RETRIES,
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

    def __init__(self, server: EndpointServer, settings: QwenVL, is_public: Callable[[str], bool]) -> None:
        """Prepare connections; none is made yet. Raises as GuardedTransport does."""
        self._server, self._address = server, server.address
        self._settings = settings
        # a connection more than requests, for `probe`
        transport = GuardedTransport(self._address, connections=settings.requests_in_flight + 1, is_public=is_public)
        timeout_s = settings.request_timeout
        query = dict(parse_qsl(urlsplit(self._address.url).query, keep_blank_values=True))
        self._openai = openai.AsyncOpenAI(
            api_key="sent by the transport",
            base_url=self._address.shown.removesuffix(CHAT_PATH),
            default_query=query if settings.api_style == "openai" else None,
            timeout=httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=transport, trust_env=False),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._openai.close()

    async def ask(self, payload: FramesPayload, prompt: Prompt) -> ModelAnswer:
        """Return the answer to one prompt, with structured output if the server supports it. Raises EndpointError."""
        form, unstructured = prompt.form, self._server.unstructured
        structured = bool(form.schema) and self._settings.api_style == "openai" and form.name not in unstructured
        with self._server.meter.request():
            try:
                return await self._ask(payload, prompt, structured=structured)
            except EndpointError as error:
                if not structured or error.status not in (400, 422):
                    raise
            answer = await self._ask(payload, prompt, structured=False)
        unstructured.add(form.name)
        return answer

    async def probe(self) -> None:
        """Ask for the list of models, whatever it is. Raises EndpointError if the server cannot answer prompts now."""
        path = self._address.url if self._settings.api_style == "pai" else "/models"
        try:
            await self._openai.get(path, cast_to=httpx2.Response, options={"timeout": _PROBE_TIMEOUT})
        except openai.APIStatusError as error:
            found = status_error(self._address, error.status_code, error.response.headers, error.response.content)
            if found.retryable:
                raise found from None

    async def _ask(self, payload: FramesPayload, prompt: Prompt, *, structured: bool) -> ModelAnswer:
        try:
            # httpx restarts its timeout with every byte; this one limits the whole answer
            async with asyncio.timeout(self._settings.request_timeout):
                response = await self._post(payload, prompt, structured)
        except TimeoutError:
            raise overdue_error(self._address, self._settings.request_timeout) from None
        except openai.APIStatusError as error:
            response = error.response
            raise status_error(self._address, response.status_code, response.headers, response.content) from None
        try:
            answer = json.loads(response.content)
        except (ValueError, RecursionError) as error:
            message = f"The answer of {self._address.shown} is not JSON."
            raise EndpointError(message, kind="transient", status=response.status_code) from error
        return parse_response(answer, prompt, self._address, self._settings)

    async def _post(self, payload: FramesPayload, prompt: Prompt, structured: bool) -> httpx2.Response:
        if self._settings.api_style == "pai":
            body = payload.pai_body(prompt)
            return await self._openai.post(self._address.url, body=body, cast_to=httpx2.Response)
        parameters = payload.chat_parameters(prompt, structured=structured)
        raw = await self._openai.chat.completions.with_raw_response.create(**parameters)
        response: httpx2.Response = raw.http_response
        return response
