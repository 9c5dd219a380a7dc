"""The frames of a video's pack as a describing model asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidpipe.media.facts import PackReference
from vidpipe.vlm.model import Frame


@dataclass(frozen=True)
class PackFrames:
    """The frames of one scene, or with `scene` None of the whole video; nothing is read before `load`.

    home: what the pack's path is relative to
    """

    home: Path
    pack: PackReference
    scene: int | None = None

    @property
    def version(self) -> str:
        return self.pack.version

    def load(self) -> Sequence[Frame]:
        """Raises MediaError where the pack is missing or damaged."""
        from vidpipe.media.frame_pack import FramePack

        pack = FramePack.open(self.home / self.pack.path)
        chosen = [frame for frame in pack.frames if self.scene in (None, frame.scene)]
        return [Frame(frame.time_s, pack.read(frame)) for frame in chosen]
