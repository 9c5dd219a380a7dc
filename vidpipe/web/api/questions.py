"""Questions to the describing model."""

from fastapi import APIRouter

router = APIRouter(tags=["questions"])
