"""Converts whole videos: into playable MP4, also with blurred faces, or into lossless archival copies."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from vidpipe.errors import MediaError
from vidpipe.library.library import Library
from vidpipe.library.videos import stored_path
from vidpipe.media import memory
from vidpipe.media.archive import archive
from vidpipe.media.encode import EncodeFormat, EncodeOrder, encode
from vidpipe.stages.analyses.faces import ANALYSIS
from vidpipe.stages.contract import Cancelled, Item, StageContext
from vidpipe.stages.face_covers import COVERS, cover_faces
from vidpipe.stages.video_decode import decode_video, find_damage, plan_for, probed_item

#: Raised when equal arguments give other bytes.
_VERSION = "1"
#: The size of the original, up to what H.264 decoders of browsers take.
_PLAYABLE = EncodeFormat(long_side=4096, short_side=2304, crf=20)
_MIN_TIME_LIMIT_S, _SLOWER = 1800.0, 50.0
_ENCODER_BYTES = 256 << 20
#: By how much frames and duration may differ: frames at the same time become one.
_MOST_FRAMES, _MOST_SHARE, _MOST_S = 1, 0.005, 0.1


class Converter:
    """Converts videos, one at a time.

    Args:
        library: The library.
        archival: Whether to make archival copies.
        cancelled: Stops the work.
        progress: Called with a video and the share of the current step that is done, 0 to 1.
        blur_faces: Whether to blur faces.

    Attributes:
        suffix: Of the copies.
        blurs_faces: Whether faces are blurred.

    Raises:
        UnavailableError: The detector of faces is not installed.
    """

    def __init__(
        self, library: Library, cancelled: Event, progress: Callable[[str, float], None], *, archival: bool,
        blur_faces: bool,
    ) -> None:  # fmt: skip
        self._library, self._archival = library, archival
        self._faces: Any = ANALYSIS.resources["faces_model"](library.settings) if blur_faces else None
        self._context = StageContext(library.settings, cancelled=cancelled, progress=progress, files=library.files)
        self.blurs_faces = blur_faces
        self.suffix = ".mkv" if archival else ".mp4"
        kind = "archival" if archival else "playable"
        self._made = f"{kind}/{_VERSION}{f' {COVERS} {self._faces.version}' if self._faces else ''}"

    def close(self) -> None:
        """End the process of the detector."""
        if self._faces:
            self._faces.close()

    def made_of(self, video: str) -> str:
        """Return what identifies the bytes of a video's copy."""
        return f"{video} {self._made}"

    @contextmanager
    def copy(self, row: Mapping[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Make the copy of a video, and give its file and what is known of it, verified.

        Raises:
            MediaError: It cannot be made, or is not what it should be. Likewise StageError and StoreError.
            OutOfReach: The detector cannot be loaded.
            Cancelled: The work was stopped. Likewise FetchCancelled.
        """
        sha256, stored = row["_id"], stored_path(row)
        settings, cancelled = self._library.settings, self._context.cancelled
        scratch = settings.derived_directory / "conversions"
        scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=scratch) as folder, self._library.files.video(sha256, stored, cancelled) as source:
            made = Path(folder) / f"made{self.suffix}"
            make = self._archive if self._archival else self._encode
            try:
                found = make(probed_item(sha256, source, settings, stored), source, made)
            except MediaError as error:
                if cancelled.is_set():
                    raise Cancelled from error
                raise
            yield made, {**found, "size_bytes": made.stat().st_size}

    def _archive(self, item: Item, source: Path, made: Path) -> dict[str, Any]:
        limits, limit_s = self._limits(item)
        limits.extra_bytes = _ENCODER_BYTES
        with memory.reading(limits):
            frames, left_out = memory.retried(lambda: archive(source, made, limit_s, self._context.cancelled))
        return {"frames": frames, "duration_s": item["metadata.duration_s"], "left_out": left_out}

    def _encode(self, item: Item, source: Path, made: Path) -> dict[str, Any]:
        cover, faces = None, {}
        if self._faces:
            cover = made.with_name("cover.mkv")
            faces = {"faces": cover_faces(item, self._context, self._faces, cover)}
        size = item["metadata.width"], item["metadata.height"]
        encode(
            EncodeOrder(
                source, plan_for(item, self._library.settings), size, item["metadata.duration_s"], *self._limits(item),
                None, self._context.cancelled, lambda share: self._context.progress(item.sha256, share), _PLAYABLE,
                task="converting", cover=cover,
            ),
            made,
        )  # fmt: skip
        return {**self._verified(item, made), **faces}

    def _limits(self, item: Item) -> tuple[memory.FileLimits, float]:
        """Return the limits of memory, and of time in seconds."""
        pixels = item["metadata.width"] * item["metadata.height"]
        limit_s = max(_MIN_TIME_LIMIT_S, _SLOWER * (item["metadata.duration_s"] or 0.0))
        return memory.FileLimits(self._library.settings.limits, pixels=pixels), limit_s

    def _verified(self, item: Item, made: Path) -> dict[str, Any]:
        """Decode the copy, and compare its frames and duration with those of the source."""
        settings = self._library.settings
        copy = probed_item(item.sha256, made, settings)
        decoded = decode_video(copy, StageContext(settings, cancelled=self._context.cancelled))
        if damage := find_damage(decoded, copy):
            raise MediaError(f"The copy was not kept: {damage.sentence}", "The disk may be failing.")
        frames, source_s = item["metadata.frame_count"], item["metadata.duration_s"]
        if frames != decoded.frames:  # what the source promises may not decode
            source = decode_video(item, self._context)
            frames, source_s = source.frames, source.end_us / 1e6
        duration_s = decoded.end_us / 1e6
        wrong_frames, wrong_s = abs(frames - decoded.frames), abs((source_s or duration_s) - duration_s)
        if wrong_frames > _MOST_FRAMES + _MOST_SHARE * frames or wrong_s > _MOST_S + _MOST_SHARE * duration_s:
            raise MediaError(
                f"The copy was not kept: it has {decoded.frames} frames in {duration_s:.2f} s; the source decodes to "
                f"{frames} in {source_s or 0:.2f} s.", "`vidpipe check` tells whether the source is damaged.",
            )  # fmt: skip
        return {"frames": decoded.frames, "duration_s": round(duration_s, 3)}
