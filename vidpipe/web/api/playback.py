"""What a browser can play, and playable copies of what it cannot."""

from fastapi import APIRouter

router = APIRouter(tags=["media"])
