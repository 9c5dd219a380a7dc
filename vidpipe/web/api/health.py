"""Whether the server works."""

from fastapi import APIRouter
from pydantic import BaseModel

from vidpipe import __version__
from vidpipe.web.home import Opened

router = APIRouter(tags=["status"])


class Health(BaseModel):
    """The server works and reaches MongoDB."""

    status: str = "ok"
    version: str = __version__


@router.get("/health")
def health(opened: Opened) -> Health:
    """Return whether the server works and reaches MongoDB; needs no key."""
    with opened.library.connection.errors_explained():
        opened.library.connection.database.command("ping")
    return Health()
