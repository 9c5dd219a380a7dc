"""Which process runs which tests (pytest-xdist)."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

from vidpipe_tests.rooms import piece_of


class ByRoom(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return piece_of(nodeid)
