"""The samples of a video's sound, kept in a file from the pass that decodes them until the stage that hears them.

    derived/<sha256>/.partial-sound/<stream>.<first frame>.s16     16-bit mono at 16 kHz

A sample's place in the file is its time, as ffmpeg reports it; gaps are zeros (holes on disk). The time of the first
video frame, in microseconds, is part of the name. Like every incomplete pack, the folder is removed by the next scenes
pass or by `vidpipe prune`, and no backup contains it.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from vidpipe.media.decode_plan import AUDIO_RATE_HZ
from vidpipe.media.frame_pack import TEMPORARY
from vidpipe.settings import Settings

_SAMPLE_BYTES = 2
#: Times in files are rounded. A smaller gap is none.
_MIN_GAP = AUDIO_RATE_HZ // 25
#: Later samples, in broken or hostile files, are not kept: two days.
_MAX_SAMPLES = 48 * 3600 * AUDIO_RATE_HZ


class SoundFile:
    """Writes blocks of sound to a file. Use it as a context manager.

    Args:
        path: The file, which is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._end = 0

    def __enter__(self) -> "SoundFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, time_us: int, samples: bytes | bytearray) -> None:
        """Add the next block. If it begins before the end of the last one, it follows it.

        Args:
            time_us: Its time, in microseconds.
            samples: 16-bit mono at 16 kHz.
        """
        start = round(time_us * AUDIO_RATE_HZ / 1_000_000)
        hidden = max(0, -start) if not self._end else 0
        if start - self._end > _MIN_GAP or (not self._end and start > 0):
            self._end = start
        kept = memoryview(samples)[hidden * _SAMPLE_BYTES :]
        if not kept or self._end + len(samples) // _SAMPLE_BYTES > _MAX_SAMPLES:
            return
        self._file.seek(self._end * _SAMPLE_BYTES)
        self._file.write(kept)
        self._end += len(kept) // _SAMPLE_BYTES


@dataclass(frozen=True)
class KeptSound:
    """The sound of a video.

    Attributes:
        path: The file.
    """

    path: Path

    @property
    def start(self) -> int:
        """Index of the sample at the first video frame."""
        return max(0, round(int(self.path.name.split(".")[1]) * AUDIO_RATE_HZ / 1_000_000))

    @property
    def samples(self) -> int:
        """Number of samples from the first video frame on."""
        return max(0, self.path.stat().st_size // _SAMPLE_BYTES - self.start)

    def read(self, position: int, count: int) -> bytes:
        """Return `count` samples, fewer at the end, from `position` after the first video frame."""
        with self.path.open("rb") as file:
            file.seek(max(0, self.start + position) * _SAMPLE_BYTES)
            return file.read(count * _SAMPLE_BYTES)


def sound_folder(settings: Settings, sha256: str) -> Path:
    """Return the folder in which the sound of a video is kept."""
    return settings.derived_directory / sha256 / f"{TEMPORARY}sound"


def keep_sound(settings: Settings, sha256: str, file: Path, stream: int, first_us: int) -> KeptSound:
    """Keep a file that `SoundFile` has written.

    Args:
        settings: The settings.
        sha256: SHA-256 of the video.
        file: The file, which is moved.
        stream: Index of the audio stream.
        first_us: Time of the first video frame, in microseconds.
    """
    folder = sound_folder(settings, sha256)
    folder.mkdir(parents=True, exist_ok=True)
    return KeptSound(file.rename(folder / f"{stream}.{first_us}.s16"))


def kept_sound(settings: Settings, sha256: str, stream: int) -> KeptSound | None:
    """Return the sound that is kept of an audio stream, if any."""
    return next(map(KeptSound, sound_folder(settings, sha256).glob(f"{stream}.*.s16")), None)


def drop_sound(settings: Settings, sha256: str) -> None:
    """Delete what is kept of the sound of a video."""
    shutil.rmtree(sound_folder(settings, sha256), ignore_errors=True)
