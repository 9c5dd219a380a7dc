"""Sources: adding URLs, lists and uploads."""

from fastapi import APIRouter

router = APIRouter(tags=["sources"])
