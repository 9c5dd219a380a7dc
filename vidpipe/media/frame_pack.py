"""Frame packs: the model's frames of one video as JPEGs in one file, with a manifest; and the thumbnails beside them.

    derived/<sha256>/<version>/frames.pack      JPEGs, one after another
                               manifest.json    times, sizes, offsets; what wrote it
                               thumb_00000.jpg  ...

A folder is written under another name and renamed when it is whole; afterwards it never changes. `version` covers
times, sizes and the extractor's version, not the JPEG bytes. Whoever writes a folder holds a lock on it that ends with
the process: what a killed run left is known at once, and removed by the next writer."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidpipe.errors import MediaError
from vidpipe.media.facts import PackedFrame, PackReference
from vidpipe.settings import Settings

_QUALITY = 85


def resized_jpeg(jpeg: bytes, size: tuple[int, int]) -> bytes:
    """A JPEG scaled to `size` (width, height). Raises MediaError where it cannot be read."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise MediaError("A frame that ffmpeg wrote cannot be read as a JPEG.", "Run the scenes stage again.")
    return _encoded(picture, size)


def small_frame_jpeg(bgr: NDArray[np.uint8], size: tuple[int, int]) -> bytes:
    """A small frame of the decode pass (uint8, shape (height, width, 3)) as a JPEG of `size` (width, height)."""
    return _encoded(bgr, size)


def clarity(jpeg: bytes) -> float:
    """How much a JPEG shows: 0 where it is black, white or unreadable, less than it could where it is faded or blurred.

    The geometric mean of the luma's standard deviation and of its Laplacian's, 0 to about 255, at half the size.
    """
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_2)
    if picture is None:
        return 0.0
    contrast, sharpness = (cv2.meanStdDev(plane)[1][0, 0] for plane in (picture, cv2.Laplacian(picture, cv2.CV_16S)))
    return math.sqrt(contrast * sharpness)


def _encoded(picture: cv2.typing.MatLike, size: tuple[int, int]) -> bytes:
    if (picture.shape[1], picture.shape[0]) != size:
        shrinks = picture.shape[1] > size[0]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise MediaError(f"A frame of {size[0]}x{size[1]} could not be written as a JPEG.")
    return data.tobytes()


#: Raised whenever the same candidates would become other frames.
EXTRACTOR = "vidpipe-frames/2"
#: The one before, which neither deinterlaced nor tone-mapped. It stands for pictures that both make alike, so that a
#: model need not look at them again.
_EARLIER_EXTRACTOR = "vidpipe-frames/1"
MANIFEST = "manifest.json"
FRAMES = "frames.pack"
#: Name of a folder that is not whole yet, or on its way out.
TEMPORARY = ".partial-"
#: Nobody writes a folder for longer; and one that is younger may be about to be locked.
_STALE_S, _YOUNG_S = 24 * 3600, 1.0


def frames_version(frames: Iterable[PackedFrame], *, converted: bool = False) -> str:
    """Names what a model sees of `frames`: extractor, times and sizes. Thumbnails, other frames and the JPEGs' bytes do
    not count.

    converted: they were deinterlaced or tone-mapped
    """
    seen = [
        EXTRACTOR if converted else _EARLIER_EXTRACTOR,
        *((frame.time_s, frame.width, frame.height) for frame in frames),
    ]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


class FramePack:
    """Reads the frames of one pack.

    frames: what is in it, in order of time
    """

    def __init__(self, folder: Path) -> None:
        """Raises MediaError where the pack is missing or damaged."""
        self._path = folder / FRAMES
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            self.frames = tuple(PackedFrame.model_validate(frame) for frame in manifest["frames"])
            size = self._path.stat().st_size
        except (OSError, ValueError, KeyError) as error:
            raise MediaError(
                f"The frame pack {folder} cannot be read: {error}.", "Run the scenes stage again for this video."
            ) from error
        if size < max((frame.offset + frame.length for frame in self.frames), default=0):
            raise MediaError(f"The frame pack {self._path} is cut short.", "Run the scenes stage again for this video.")

    @classmethod
    def open(cls, settings: Settings, reference: PackReference) -> FramePack:
        return cls(settings.resolve(reference.path))

    def read(self, frame: PackedFrame) -> bytes:
        """The JPEG of one of `frames`."""
        with self._path.open("rb") as file:
            file.seek(frame.offset)
            return file.read(frame.length)

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[tuple[PackedFrame, bytes]]:
        """Every frame with its JPEG."""
        return self._with_bytes(self.frames)

    def of_scene(self, index: int) -> Iterator[tuple[PackedFrame, bytes]]:
        """The frames of one scene with their JPEGs."""
        return self._with_bytes([frame for frame in self.frames if frame.scene == index])

    def _with_bytes(self, frames: Sequence[PackedFrame]) -> Iterator[tuple[PackedFrame, bytes]]:
        with self._path.open("rb") as file:
            for frame in frames:
                file.seek(frame.offset)
                yield frame, file.read(frame.length)


class FramePackWriter:
    """Writes one video's folder. Use it as a context manager: what was not published is removed on leaving."""

    def __init__(self, settings: Settings, sha256: str) -> None:
        self._settings = settings
        self._parent = settings.derived_directory / sha256
        self._parent.mkdir(parents=True, exist_ok=True)
        self._remove_stale()
        self.folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self._parent))
        self._lock = os.open(self.folder, os.O_RDONLY)
        with contextlib.suppress(OSError):  # a disk without locks (some network disks): then only age tells
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._frames: list[PackedFrame] = []
        self._thumbnails: list[dict[str, Any]] = []
        self._end = 0
        self._pack = (self.folder / FRAMES).open("wb")

    def __enter__(self) -> FramePackWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # on a full disk the last bytes find no room here either
            self._pack.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def add_frame(self, *, time_s: float, scene: int, size: tuple[int, int], jpeg: bytes) -> None:
        self._pack.write(jpeg)
        frame = PackedFrame(
            time_s=time_s, scene=scene, offset=self._end, length=len(jpeg), width=size[0], height=size[1]
        )
        self._frames.append(frame)
        self._end += len(jpeg)

    def add_thumbnail(self, time_s: float, scene: int, size: tuple[int, int], jpeg: bytes) -> str:
        """Its file name in the folder."""
        name = f"thumb_{len(self._thumbnails):05d}.jpg"
        (self.folder / name).write_bytes(jpeg)
        self._thumbnails.append({"time_s": time_s, "scene": scene, "file": name, "width": size[0], "height": size[1]})
        return name

    @property
    def frames(self) -> Sequence[PackedFrame]:
        """What was added so far."""
        return self._frames

    def publish(self) -> PackReference:
        """Give the folder its final name. An equal pack that is already there stays as it is."""
        manifest = {
            "extractor": EXTRACTOR,
            "frames": [frame.model_dump() for frame in self._frames],
            "thumbnails": self._thumbnails,
        }
        covered = manifest | {"frames": [frame.model_dump(exclude={"offset", "length"}) for frame in self._frames]}
        version = hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:16]
        self._pack.flush()
        os.fsync(self._pack.fileno())
        self._pack.close()
        (self.folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        # mkdtemp lets only its owner in; the library is read by whoever may read the home
        self.folder.chmod(0o755)
        final = self._parent / version
        self._rename(final)
        return PackReference(
            version=version, path=self._settings.relative(final), frames=len(self._frames), bytes=self._end
        )

    def _rename(self, final: Path) -> None:
        if _is_whole(final, [entry["file"] for entry in self._thumbnails]):
            return
        try:
            self.folder.rename(final)
        except OSError:
            if _is_whole(final, [entry["file"] for entry in self._thumbnails]):
                return  # another run was quicker
            # something is missing from it: make way, and let who still reads it finish
            aside = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self._parent)) / "old"
            final.rename(aside)
            self.folder.rename(final)
            shutil.rmtree(aside.parent, ignore_errors=True)

    def _remove_stale(self) -> None:
        """What a killed run left."""
        for path in self._parent.glob(f"{TEMPORARY}*"):
            with contextlib.suppress(OSError):
                age_s = time.time() - path.stat().st_mtime
                if age_s > _STALE_S or (age_s > _YOUNG_S and is_nobodys(path)):
                    shutil.rmtree(path, ignore_errors=True)


def pack_is_there(settings: Settings, reference: PackReference) -> bool:
    """Whether a pack's files exist: two stats, nothing read."""
    folder = settings.resolve(reference.path)
    return (folder / MANIFEST).is_file() and (folder / FRAMES).is_file()


def is_nobodys(folder: Path) -> bool:
    """Whether no process holds the lock. Raises OSError where the disk knows no locks."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(opened)
    return True


def _is_whole(folder: Path, thumbnails: Sequence[str]) -> bool:
    try:
        FramePack(folder)
    except MediaError:
        return False
    return all((folder / name).is_file() for name in thumbnails)
