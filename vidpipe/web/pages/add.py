"""The page that adds videos."""

from fastapi import APIRouter

router = APIRouter()
