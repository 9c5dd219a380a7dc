"""ASGI middleware of all responses: content security policy, and no change by forged or huge requests."""

from fastapi import HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vidpipe.web.access import SAFE_METHODS, is_forged
from vidpipe.web.problems import Problem, RequestError, problem_response
from vidpipe.web.rate_limits import client_address, count

#: No inline scripts or styles, nothing from other sites. blob: is for pictures that a page draws itself.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; manifest-src 'self'"
)
#: What the API serves is data, also if it looks like a page, such as an uploaded file.
API_CONTENT_SECURITY_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; sandbox allow-same-origin"
_API = "/api/v1/"
#: Enough for 10,000 videos. Uploads are written to disk as they arrive, and have limits of their own.
MOST_BODY_BYTES = 4_000_000
_UPLOADS = "/api/v1/uploads"
#: Whose caller is not asked for, so that the address counts.
_NO_CALLER = ("/login", "/api/v1/health", "/api/docs", "/api/openapi.json")


class RequestGuard:
    """Refuses forged and huge requests, and adds the content security policy and rate limits to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, received_bytes, path = Request(scope), 0, scope["path"]
        state = scope.setdefault("state", {})

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                policy = API_CONTENT_SECURITY_POLICY if path.startswith(_API) else CONTENT_SECURITY_POLICY
                headers.append("Content-Security-Policy", policy)
                headers.setdefault("Cache-Control", "no-store")
                headers.update(state.get("rate_limit", {}))
            await send(message)

        async def receive_bounded() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > MOST_BODY_BYTES and not path.startswith(_UPLOADS):
                raise HTTPException(413, f"A request has at most {MOST_BODY_BYTES:,} bytes; files are sent as uploads.")
            return message

        try:
            if scope["method"] not in SAFE_METHODS and is_forged(request):
                raise RequestError(403, "The request lacks the token of a page.", "Reload the page, and allow cookies.")
            if path.startswith("/static/") or path in _NO_CALLER:
                count(request, client_address(request))
        except RequestError as error:
            await problem_response(Problem.of(error.status, error.message, error.hint))(scope, receive, send_guarded)
        else:
            await self._app(scope, receive_bounded, send_guarded)
