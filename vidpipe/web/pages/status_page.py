"""The status page."""

from fastapi import APIRouter

router = APIRouter()
