"""Which tests stay in one process where several run at once: those that share what takes long to set up."""

from __future__ import annotations

#: A home with a dozen videos in every stage; one whose servers are up; PyTorch with a model.
_IN_ONE_PIECE = ("vidpipe_tests/end_to_end/", "vidpipe_tests/operations/services/", "vidpipe_tests/vlm/qwen/")


def in_one_piece(nodeid: str) -> bool:
    return nodeid.startswith(_IN_ONE_PIECE)


def piece_of(nodeid: str) -> str:
    """What a test belongs to: its room or, elsewhere, its file."""
    return next((room for room in _IN_ONE_PIECE if nodeid.startswith(room)), nodeid.partition("::")[0])
