"""Makes clips: each once, in data/derived/clips, named by everything its bytes depend on.

derived/clips/<sha256 of the video>/<key>.mp4     the clip; .mkv if it is copied from another container than MP4
                                    <key>.json    what it holds; written first, so a clip without it does not exist

The time of both is that of the last use, by which `vidpipe prune` deletes clips.
"""

import contextlib
import hashlib
import json
import os
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

from vidpipe.datasets.clips.verification import kept_times, verify
from vidpipe.errors import MediaError, VidpipeError
from vidpipe.library.library import Library
from vidpipe.media import ffmpeg, memory
from vidpipe.media.decode_plan import DecodePlan
from vidpipe.media.encode import LONG_S, EncodeFormat, EncodeOrder, EncodePart, encode_parts
from vidpipe.media.facts import ActiveArea
from vidpipe.media.frame_times import FrameTimes, decoded_times, listed_times
from vidpipe.media.probe import probe
from vidpipe.media.stream_copy import copy_part, copy_suffix
from vidpipe.operations.proxies import PARTIAL, clips_folder
from vidpipe.safe_files import replace_file
from vidpipe.stages.contract import Item
from vidpipe.stages.video_decode import plan_for

#: Raised when equal arguments give other bytes.
_VERSION = "2"
_MIN_TIME_LIMIT_S, _SLOWER = 600.0, 20.0
#: How clips are encoded unless the user asks for something else.
CLIP_FORMAT = EncodeFormat(max_frame_rate=30.0)
#: Clips that are encoded at once, and the longest gap that is decoded between two of them.
TOGETHER, _MAX_GAP_S = 12, 5.0
#: Threads of an encoder. Its bytes depend on them, so they are the same on all machines.
_THREADS = 2
#: A lower limit of the frame rate than this share of a video's rate applies to it; more is jitter.
_RATE_JITTER = 1.02
_KEPT_VIDEOS = 8


@dataclass(frozen=True)
class ClipRequest:
    """A part of a video.

    Attributes:
        video: sha256 of the video.
        path: Path of its file as stored.
        start_s: Start in the video, in seconds.
        end_s: End: frames at start_s <= time < end_s are in the clip.
        crop: Part of the displayed picture to keep; None: all of it.
    """

    video: str
    path: str
    start_s: float
    end_s: float
    crop: ActiveArea | None = None


@dataclass(frozen=True)
class Clip:
    """A clip that was made and verified.

    Attributes:
        path: Its file.
        start_s: Time of its first frame in the video, in seconds.
        end_s: End of its last frame.
        frames: Number of its frames.
        size_bytes: Size of its file.
    """

    path: Path
    start_s: float
    end_s: float
    frames: int
    size_bytes: int = 0


#: Clips, or why they cannot be made.
Made = dict[ClipRequest, Clip | VidpipeError]


@dataclass(frozen=True)
class _Source:
    facts: dict[str, Any]
    plan: DecodePlan
    times: FrameTimes


class ClipMaker:
    """Makes and keeps clips. May be used by several threads.

    Args:
        library: The library.
        form: How clips are encoded.
        cancelled: Stops the work.
        fast: Copy the packets from the key frame at or before the start, instead of encoding.
    """

    def __init__(self, library: Library, form: EncodeFormat, cancelled: Event, *, fast: bool = False) -> None:
        self._library = library
        self._form = replace(form, threads=_THREADS)
        self._cancelled = cancelled
        self._fast = fast
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}

    def key(self, request: ClipRequest) -> str:
        """Return the hash of everything that the bytes of a clip depend on."""
        form = asdict(replace(self._form, crop=request.crop or self._form.crop))
        times = [round(request.start_s, 6), round(request.end_s, 6)]
        parts = [_VERSION, ffmpeg.version(ffmpeg.ffmpeg_path()), request.video, *times, self._fast, form]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def duration_s(self, video: str, path: str) -> float:
        """Return the end of the last frame of a video, in seconds.

        Raises:
            MediaError: The video cannot be decoded.
            StoreError: The video cannot be read.
        """
        with self._library.files.video(video, path, self._cancelled) as original:
            return self._source(video, original).times.end_s

    def make_all(self, requests: Sequence[ClipRequest]) -> Made:
        """Make clips of one video, unless they exist."""
        made: Made = {one: clip for one in requests if (clip := self._made(one))}
        missing = [one for one in dict.fromkeys(requests) if one not in made]
        try:
            if missing:
                video = missing[0].video
                with self._library.files.video(video, missing[0].path, self._cancelled) as original:
                    source = self._source(video, original)
                    made |= self._attempt(original, source, missing)
                    failed = [one for one in missing if not isinstance(made[one], Clip)]
                    if failed and source.times.first_s is not None and not self._fast and not self._cancelled.is_set():
                        # its packets do not tell what is decoded, or seeking does not work
                        made |= self._attempt(original, self._source(video, original, decoded=True), failed)
        except OSError as error:
            failure = MediaError(f"It cannot be stored: {error.strerror}.", "Is data/derived full or read-only?")
            made |= {one: failure for one in missing if one not in made}
        except VidpipeError as error:
            made |= {one: error for one in missing if one not in made}
        return made

    def _attempt(self, original: Path, source: _Source, requests: Sequence[ClipRequest]) -> Made:
        made: Made = {}
        parts: dict[ClipRequest, EncodePart] = {}
        for one in requests:
            if frames := source.times.between(one.start_s, one.end_s):
                path = self._path(one, source)
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f"{PARTIAL}{uuid.uuid4().hex}{path.suffix}")
                parts[one] = EncodePart(partial, frames, one.crop or self._form.crop)
            else:
                made[one] = MediaError(
                    f"There is no frame from {one.start_s:g} s to {one.end_s:g} s.",
                    f"The next frame is at {source.times.at(frames.start):.3f} s."
                    if frames.start < len(source.times.times_s)
                    else f"The video ends at {source.times.end_s:.3f} s.",
                )
        try:
            if parts and not self._fast:
                encode_parts(self._order(original, source), list(parts.values()))
            for one, part in parts.items():
                try:
                    made[one] = self._finish(one, part, source, original)
                except VidpipeError as error:
                    made[one] = error
        except VidpipeError as error:
            made |= dict.fromkeys(parts, error)
        finally:
            for part in parts.values():
                part.destination.unlink(missing_ok=True)
        return made

    def _finish(self, request: ClipRequest, part: EncodePart, source: _Source, original: Path) -> Clip:
        times, frames, path = source.times, part.frames, self._path(request, source)
        if self._fast:
            order = self._order(original, source)
            with memory.reading(order.limits):
                start_s = copy_part(original, order.plan, times, frames, part.destination,
                                    audio=order.form.audio, limit_s=order.time_limit_s)  # fmt: skip
                plan, facts = (
                    replace(order.plan, video_stream=0, audio_stream=None),
                    source.facts | {"duration_s": None},
                )
                shown = decoded_times(part.destination, plan, facts, order.time_limit_s, self._cancelled)
            clip = Clip(path, start_s, start_s + shown.end_s, len(shown.times_s))
            if not clip.frames:
                raise MediaError("The copy does not decode.", "Leave out --fast: it is encoded again.")
        else:
            wanted = kept_times(times.times_s[frames.start : frames.stop], self._rate_limit(source))
            verify(part.destination, wanted, max(times.tolerance_s, 1e-4))
            clip = Clip(path, times.at(frames.start), times.at(frames.stop), len(wanted))
        clip = replace(clip, size_bytes=part.destination.stat().st_size)
        described = {name: value for name, value in vars(clip).items() if name != "path"}
        replace_file(path.with_suffix(".json"), json.dumps(described, sort_keys=True).encode())
        part.destination.replace(path)
        return clip

    def _order(self, original: Path, source: _Source) -> EncodeOrder:
        facts, settings = source.facts, self._library.settings
        limits = memory.FileLimits(settings.limits, pixels=facts["width"] * facts["height"])
        limit_s = max(_MIN_TIME_LIMIT_S, _SLOWER * (facts["duration_s"] or 0.0))
        return EncodeOrder(
            original, source.plan, (facts["width"], facts["height"]), facts["duration_s"], limits, limit_s, None,
            self._cancelled, lambda share: None, replace(self._form, max_frame_rate=self._rate_limit(source)),
            "making a clip", times=source.times, niceness=0,
        )  # fmt: skip

    def _rate_limit(self, source: _Source) -> float | None:
        limit, rate = self._form.max_frame_rate, source.facts["frame_rate"]
        return limit if limit and rate and rate > limit * _RATE_JITTER else None

    def _path(self, request: ClipRequest, source: _Source | None = None) -> Path:
        copied = source.facts if self._fast and source else None
        suffix = copy_suffix(copied["container"], copied["video_codec"]) if copied else ".mp4"
        return clips_folder(self._library.settings, request.video) / f"{self.key(request)}{suffix}"

    def _made(self, request: ClipRequest) -> Clip | None:
        path = self._path(request)
        for found in (path, path.with_suffix(".mkv")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                clip = Clip(found, **json.loads(found.with_suffix(".json").read_bytes()))
                if found.stat().st_size == clip.size_bytes:  # else a failure of the power cut it off
                    os.utime(found)
                    os.utime(found.with_suffix(".json"))
                    return clip
        return None

    def _source(self, video: str, original: Path, *, decoded: bool = False) -> _Source:
        """Return what is known of a video; with `decoded`, the times of the frames that all of it decodes to."""
        with self._locks.setdefault(video, threading.Lock()):
            known = self._sources.get(video)
            if known is None or (decoded and known.times.first_s is not None):
                self._sources[video] = known = self._read(video, original, known, decoded=decoded)
                while len(self._sources) > _KEPT_VIDEOS:
                    self._sources.popitem(last=False)
            return known

    def _read(self, video: str, original: Path, known: _Source | None, *, decoded: bool) -> _Source:
        settings = self._library.settings
        facts = known.facts if known else dict(probe(original, limits=settings.limits))
        plan = plan_for(Item(video, {f"metadata.{name}": value for name, value in facts.items()}), settings)
        if not self._form.audio:
            plan = replace(plan, audio_stream=None)
        with memory.reading(memory.FileLimits(settings.limits, pixels=facts["width"] * facts["height"])):
            times = None if decoded else listed_times(original, facts)
            if times is None:
                limit_s = max(_MIN_TIME_LIMIT_S, _SLOWER * (facts["duration_s"] or 0.0))
                times = decoded_times(original, plan, facts, limit_s, self._cancelled)
        return _Source(facts, plan, times)


def together(requests: Sequence[ClipRequest], workers: int) -> Iterator[list[ClipRequest]]:
    """Yield the clips of one video in groups that are best made at once, in order of time.

    Args:
        requests: The clips.
        workers: Number of groups that are made at the same time.
    """
    most = min(TOGETHER, -(-len(requests) // workers))
    group: list[ClipRequest] = []
    end_s = 0.0
    for one in sorted(dict.fromkeys(requests), key=lambda one: (one.start_s, one.end_s)):
        alone = one.end_s - one.start_s > LONG_S
        if group and (alone or len(group) == most or one.start_s > end_s + _MAX_GAP_S or end_s == float("inf")):
            yield group
            group = []
        end_s = float("inf") if alone else max(one.end_s, end_s if group else 0.0)
        group.append(one)
    if group:
        yield group
