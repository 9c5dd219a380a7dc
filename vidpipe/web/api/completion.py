"""Completion of the search box."""

from fastapi import APIRouter

router = APIRouter(tags=["search"])
