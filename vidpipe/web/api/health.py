"""Whether the server works."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from pymongo.errors import PyMongoError

from vidpipe import __version__
from vidpipe.errors import VidpipeError
from vidpipe.web.home import WebHome, web_home
from vidpipe.web.problems import RequestError

router = APIRouter(tags=["status"])


class Health(BaseModel):
    """The server works and reaches MongoDB."""

    status: str = "ok"
    version: str = __version__


@router.get("/health")
def health(home: Annotated[WebHome, Depends(web_home)]) -> Health:
    """Return whether the server works and reaches MongoDB; needs no key."""
    try:
        home.opened().library.connection.database.command("ping")
    except (VidpipeError, PyMongoError) as error:  # says where the library is, which is not for everybody
        raise RequestError(503, "The library cannot be reached.", "The log file says why.") from error
    return Health()
