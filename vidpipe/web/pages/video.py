"""The page of one video."""

from fastapi import APIRouter

router = APIRouter()
