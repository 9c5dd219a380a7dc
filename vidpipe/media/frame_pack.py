"""Frame packs: the model's frames of a video as JPEGs in one file, with a manifest and the thumbnails.

    derived/<sha256>/<version>/frames.pack      JPEGs, one after another
                               manifest.json    times, sizes, offsets; what wrote it
                               thumb_00000.jpg  ...

A folder is written under a temporary name and renamed when it is complete; afterwards it never changes. `version`
covers times, sizes, the extractor's version and what blurred faces, not the bytes of the JPEGs. A writer holds a lock
on its folder that ends with the process, so that the next writer can remove what a killed run left behind.
"""

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
from typing import TYPE_CHECKING, Any

from vidpipe.errors import MediaError
from vidpipe.media.facts import Face, PackedFrame, PackReference
from vidpipe.settings import Settings

if TYPE_CHECKING:
    import cv2

_QUALITY = 85


def decode_jpeg(jpeg: bytes, *, halved: bool = False) -> cv2.typing.MatLike:
    """Return the pixels of a JPEG: BGR, uint8, shape (height, width, 3).

    Args:
        jpeg: The JPEG.
        halved: At half the size, which takes less time.

    Raises:
        MediaError: It cannot be decoded.
    """
    import cv2  # loaded only where pictures are made: commands that read results import this module
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_COLOR_2 if halved else cv2.IMREAD_COLOR)
    if picture is None:
        raise MediaError("A frame written by ffmpeg is not a readable JPEG.", "Run the scenes stage again.")
    return picture


def resized_jpeg(jpeg: bytes, size: tuple[int, int]) -> bytes:
    """Scale a JPEG.

    Args:
        jpeg: The JPEG.
        size: New width and height, in pixels.

    Raises:
        MediaError: The JPEG cannot be decoded.
    """
    return encode_jpeg(decode_jpeg(jpeg), size)


def encode_jpeg(picture: cv2.typing.MatLike, size: tuple[int, int]) -> bytes:
    """Encode a picture as a JPEG.

    Args:
        picture: BGR pixels, uint8, shape (height, width, 3).
        size: Width and height of the JPEG, in pixels.

    Raises:
        MediaError: The JPEG cannot be encoded.
    """
    import cv2

    if (picture.shape[1], picture.shape[0]) != size:
        shrinks = picture.shape[1] > size[0]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise MediaError(f"A frame of {size[0]}x{size[1]} pixels cannot be encoded as a JPEG.")
    return data.tobytes()


def clarity(jpeg: bytes) -> float:
    """Return how much detail a JPEG shows.

    Returns:
        Geometric mean of the standard deviations of the luma and of its Laplacian, at half the size: 0 (black, white or
        unreadable) to about 255. Faded and blurred pictures have low values.
    """
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_2)
    if picture is None:
        return 0.0
    contrast, sharpness = (cv2.meanStdDev(plane)[1][0, 0] for plane in (picture, cv2.Laplacian(picture, cv2.CV_16S)))
    return math.sqrt(contrast * sharpness)


#: Incremented whenever the same candidates yield different frames.
EXTRACTOR = "vidpipe-frames/2"
#: Version without deinterlacing and tone mapping. It still identifies pictures that need neither, so that models need
#: not describe them again.
_PLAIN_EXTRACTOR = "vidpipe-frames/1"
MANIFEST = "manifest.json"
FRAMES = "frames.pack"
#: Name prefix of a folder that is incomplete or being removed.
TEMPORARY = ".partial-"
#: No folder takes longer to write; a younger one than this may not be locked yet.
_STALE_S, _MIN_AGE_S = 24 * 3600, 1.0


def frames_version(frames: Iterable[PackedFrame], *, converted: bool = False, faces: str = "") -> str:
    """Return a version of frames as a model sees them: a hash of extractor, times and sizes.

    Args:
        frames: The frames.
        converted: Whether they were deinterlaced or tone-mapped.
        faces: What blurred their faces; empty if they are not blurred.
    """
    extractor = EXTRACTOR if converted else _PLAIN_EXTRACTOR
    covered = [extractor, *filter(None, [faces]), *((frame.time_s, frame.width, frame.height) for frame in frames)]
    return hashlib.sha256(json.dumps(covered).encode()).hexdigest()[:16]


class FramePack:
    """Reads the frames of a pack.

    Args:
        folder: The folder of the pack.

    Attributes:
        folder: The folder.
        frames: The frames in order of time.

    Raises:
        MediaError: The pack is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
            raise MediaError(f"The frame pack {self._path} is truncated.", "Run the scenes stage again for this video.")

    def __iter__(self) -> Iterator[tuple[PackedFrame, bytes]]:
        """Yield every frame with its JPEG."""
        return self._with_bytes(self.frames)

    def of_scene(self, index: int) -> Iterator[tuple[PackedFrame, bytes]]:
        """The frames of one scene with their JPEGs."""
        return self._with_bytes([frame for frame in self.frames if frame.scene == index])

    def nearest(self, time_s: float) -> tuple[PackedFrame, bytes] | None:
        """Return the frame nearest to a time, with its JPEG; None: the pack is empty."""
        frames = sorted(self.frames, key=lambda frame: abs(frame.time_s - time_s))
        return next(self._with_bytes(frames[:1]), None)

    def _with_bytes(self, frames: Sequence[PackedFrame]) -> Iterator[tuple[PackedFrame, bytes]]:
        with self._path.open("rb") as file:
            for frame in frames:
                file.seek(frame.offset)
                yield frame, file.read(frame.length)


class FramePackWriter:
    """Writes the frame pack of a video. Use it as a context manager, which removes what was not published.

    Args:
        settings: The settings, with the folder of derived files.
        sha256: SHA-256 of the video.
        faces: What blurred the faces in its pictures; empty if they are not blurred.
    """

    def __init__(self, settings: Settings, sha256: str, *, faces: str = "") -> None:
        self._settings = settings
        self._faces = {"faces_blurred_by": faces} if faces else {}
        self._parent = settings.derived_directory / sha256
        self._opened = contextlib.ExitStack()
        self.folder = self._opened.enter_context(partial_folder(self._parent))
        self._frames: list[PackedFrame] = []
        self._thumbnails: list[dict[str, Any]] = []
        self._end = 0
        self._pack = (self.folder / FRAMES).open("wb")

    def __enter__(self) -> FramePackWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # closing flushes, which fails on a full disk
            self._pack.close()
        self._opened.close()

    def add_frame(
        self,
        *,
        time_s: float,
        scene: int,
        size: tuple[int, int],
        jpeg: bytes,
        faces: tuple[Face, ...] | None = None,
    ) -> None:
        """Append a frame to the pack.

        Args:
            time_s: Its time, in seconds from the first video frame.
            scene: Index of its scene.
            size: Width and height, in pixels.
            jpeg: The JPEG.
            faces: The faces in it, if they are blurred.
        """
        self._pack.write(jpeg)
        place = {"offset": self._end, "length": len(jpeg), "width": size[0], "height": size[1]}
        self._frames.append(PackedFrame(time_s=time_s, scene=scene, faces=faces, **place))
        self._end += len(jpeg)

    def add_thumbnail(self, time_s: float, scene: int, size: tuple[int, int], jpeg: bytes) -> str:
        """Write a thumbnail (arguments as for `add_frame`), and return its file name in the folder."""
        name = f"thumb_{len(self._thumbnails):05d}.jpg"
        (self.folder / name).write_bytes(jpeg)
        self._thumbnails.append({"time_s": time_s, "scene": scene, "file": name, "width": size[0], "height": size[1]})
        return name

    @property
    def frames(self) -> Sequence[PackedFrame]:
        """The frames added so far."""
        return self._frames

    def publish(self) -> PackReference:
        """Give the folder its final name, unless an equal pack already exists."""
        manifest = {
            "extractor": EXTRACTOR,
            **self._faces,
            "frames": [frame.model_dump(exclude_none=True) for frame in self._frames],
            "thumbnails": self._thumbnails,
        }
        uncovered = {"offset", "length", "faces"}
        covered = manifest | {"frames": [frame.model_dump(exclude=uncovered) for frame in self._frames]}
        version = hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:16]
        self._pack.flush()
        os.fsync(self._pack.fileno())
        self._pack.close()
        (self.folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        # mkdtemp grants access to the owner only; the library has the permissions of the home
        self.folder.chmod(0o755)
        final = self._parent / version
        self._rename(final)
        return PackReference(
            version=version, path=self._settings.relative(final), frames=len(self._frames), bytes=self._end
        )

    def _rename(self, final: Path) -> None:
        if _is_complete(final, [entry["file"] for entry in self._thumbnails]):
            return
        try:
            self.folder.rename(final)
        except OSError:
            if _is_complete(final, [entry["file"] for entry in self._thumbnails]):
                return  # another run was faster
            # it is incomplete: move it aside, so that its readers can finish
            aside = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self._parent)) / "old"
            final.rename(aside)
            self.folder.rename(final)
            shutil.rmtree(aside.parent, ignore_errors=True)


@contextlib.contextmanager
def partial_folder(parent: Path) -> Iterator[Path]:
    """Give a new folder in `parent` to write files into, and remove it unless it was renamed.

    It is locked, so that others remove it only if this process is killed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(parent)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=parent))
    lock = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network disks have no locks; there, only the age counts
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_stale(parent: Path) -> None:
    """Remove what killed runs left behind."""
    for path in parent.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            age_s = time.time() - path.stat().st_mtime
            if age_s > _STALE_S or (age_s > _MIN_AGE_S and is_unlocked(path)):
                shutil.rmtree(path, ignore_errors=True)


def pack_exists(settings: Settings, reference: PackReference) -> bool:
    """Return whether the files of a pack exist, without reading them."""
    folder = settings.resolve(reference.path)
    return (folder / MANIFEST).is_file() and (folder / FRAMES).is_file()


def is_unlocked(folder: Path) -> bool:
    """Return whether no process holds the lock of a folder.

    Raises:
        OSError: The file system does not support locks.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(opened)
    return True


def _is_complete(folder: Path, thumbnails: Sequence[str]) -> bool:
    try:
        FramePack(folder)
    except MediaError:
        return False
    return all((folder / name).is_file() for name in thumbnails)
