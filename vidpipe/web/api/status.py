"""The state of the library and its statistics."""

from fastapi import APIRouter

router = APIRouter(tags=["status"])
