"""Signing in and out: a browser exchanges a key for the cookie of a session."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from vidpipe.library.api_keys import SESSION_DAYS, ApiKeys, Scope
from vidpipe.settings import audit
from vidpipe.web.access import CSRF_COOKIE, SESSION_COOKIE, Caller, identify, new_csrf_token, set_cookie
from vidpipe.web.home import Opened
from vidpipe.web.problems import RequestError
from vidpipe.web.rate_limits import client_address, count

router = APIRouter(tags=["session"])


class SignIn(BaseModel):
    """What signs a browser in.

    Attributes:
        key: An API key.
    """

    key: str = Field(min_length=1, max_length=200)


class SignedIn(BaseModel):
    """Who sends the requests.

    Attributes:
        name: Of the key; "this machine" where none is needed; None: nobody has signed in.
        scope: What is allowed: read, write or admin.
    """

    name: str | None = None
    scope: Scope | None = None


@router.post("/session")
def sign_in(request: Request, response: Response, opened: Opened, given: SignIn) -> SignedIn:
    """Begin a session with a key: the response sets its cookie."""
    count(request, client_address(request), "sign-ins")
    keys = ApiKeys(opened.library.collections)
    key = keys.of_secret(given.key.strip())
    if key is None:
        raise RequestError(401, "The key is not valid.", "`vidpipe keys list` shows the keys.")
    keys.sign_out(request.cookies.get(SESSION_COOKIE, ""))
    set_cookie(request, response, SESSION_COOKIE, keys.sign_in(key), int(SESSION_DAYS * 86_400))
    set_cookie(request, response, CSRF_COOKIE, new_csrf_token())
    audit("web", caller=key.name, action="signed in")
    return SignedIn(name=key.name, scope=key.scope)


@router.get("/session")
def get_session(caller: Annotated[Caller | None, Depends(identify)]) -> SignedIn:
    """Return who sends the requests; needs no key."""
    if caller is None:
        return SignedIn()
    return SignedIn(name=caller.name, scope=caller.key.scope if caller.key else "admin")


@router.delete("/session", status_code=204)
def sign_out(request: Request, opened: Opened) -> Response:
    """End the session."""
    count(request, client_address(request))
    ApiKeys(opened.library.collections).sign_out(request.cookies.get(SESSION_COOKIE, ""))
    response = Response(status_code=204)
    response.delete_cookie(SESSION_COOKIE)
    return response
