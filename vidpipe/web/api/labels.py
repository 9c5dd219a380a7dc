"""Labels of videos."""

from fastapi import APIRouter

router = APIRouter(tags=["labels"])
