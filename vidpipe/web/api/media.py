"""Thumbnails, frames and files of videos."""

from fastapi import APIRouter

router = APIRouter(tags=["media"])
