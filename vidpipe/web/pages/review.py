"""The review page: a contact sheet for one tag."""

from fastapi import APIRouter

router = APIRouter()
