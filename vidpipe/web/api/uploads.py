"""Resumable uploads."""

from fastapi import APIRouter

router = APIRouter(tags=["sources"])
