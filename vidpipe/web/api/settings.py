"""Effective settings and rules, and their editing."""

from fastapi import APIRouter

router = APIRouter(tags=["settings"])
