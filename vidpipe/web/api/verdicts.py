"""Verdicts on tags."""

from fastapi import APIRouter

router = APIRouter(tags=["verdicts"])
