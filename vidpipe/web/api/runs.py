"""Runs: start, progress, cancel."""

from fastapi import APIRouter

router = APIRouter(tags=["runs"])
