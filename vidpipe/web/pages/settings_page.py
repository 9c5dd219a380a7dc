"""The settings page."""

from fastapi import APIRouter

router = APIRouter()
