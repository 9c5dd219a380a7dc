"""Exports of a selection."""

from fastapi import APIRouter

router = APIRouter(tags=["exports"])
