"""Search, with moments and what is similar."""

from fastapi import APIRouter

router = APIRouter(tags=["search"])
