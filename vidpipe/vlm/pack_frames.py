"""The frames of a video's pack as a describing model asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidpipe.media.facts import PackReference
from vidpipe.media.frame_pack import FramePack
from vidpipe.settings import Settings
from vidpipe.vlm.model import Frame


@dataclass(frozen=True)
class PackFrames:
    """The frames of one scene, or with `scene` None of the whole video; nothing is read before `load`.

    version: names these frames
    """

    settings: Settings
    pack: PackReference
    version: str
    scene: int | None = None

    def load(self) -> Sequence[Frame]:
        """Raises MediaError where the pack is missing or damaged."""
        pack = FramePack.open(self.settings, self.pack)
        chosen = pack if self.scene is None else pack.of_scene(self.scene)
        return [Frame(frame.time_s, jpeg) for frame, jpeg in chosen]
