"""Whether Dagster's own processes do their work, for those who start them."""

from __future__ import annotations

from pathlib import Path

from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc.client import DagsterGrpcClient

from vidpipe.pipeline.instance import instance
from vidpipe.settings import Settings


def code_server_answers(socket: Path) -> bool:
    if not socket.exists():
        return False
    try:
        DagsterGrpcClient(socket=str(socket)).ping("up")
    except DagsterUserCodeUnreachableError:
        return False
    return True


def daemon_beats(settings: Settings, since: float) -> bool:
    """Whether the daemon has told Dagster's storage that it is at work, after `since` (seconds of the epoch)."""
    with instance(settings) as opened:
        return any(beat.timestamp >= since for beat in opened.get_daemon_heartbeats().values())
