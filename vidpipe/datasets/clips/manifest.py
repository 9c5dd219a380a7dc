"""The folder that clips are written to: their names, and the list of them in manifest.jsonl."""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidpipe.datasets.clips.maker import Clip, ClipRequest
from vidpipe.datasets.clips.ranges import ClipRange
from vidpipe.datasets.target import Target
from vidpipe.errors import SettingsError, VidpipeError, visible

#: {name}: of the video, without its suffix; {video}: its hash; {index}: of its clip, from 0; {start}, {end}: in ms.
FIELDS = ("name", "video", "index", "start", "end", "label")
DEFAULT_NAME = "{name}-{start}-{end}"
_MANIFEST = "manifest.jsonl"
_FIELD = re.compile(r"\{(\w*)\}")
_UNSAFE = re.compile(r"[^\w.-]+")
#: Stated times are rounded.
_ROUNDING_S = 0.002
_LONGEST_VALUE_BYTES, _LONGEST_NAME_BYTES = 80, 200


class Manifest:
    """Puts clips into a folder and lists them.

    Args:
        target: Where they are put.
        template: Names of the files, with `FIELDS` in braces.
        fast: Whether clips begin at key frames.

    Attributes:
        rows: The clips.
        failed: What could not be made, and why.

    Raises:
        SettingsError: The template has an unknown field, or leads out of the folder.
    """

    def __init__(self, target: Target, template: str, *, fast: bool) -> None:
        unknown = sorted({name for name in _FIELD.findall(template) if name not in FIELDS})
        if unknown or not template.strip("/. ") or ".." in template.split("/") or template.startswith("/"):
            what = f"has no field {{{unknown[0]}}}" if unknown else "must name files in the folder"
            raise SettingsError(f"--name {what}.", f"Fields: {', '.join(f'{{{name}}}' for name in FIELDS)}.")
        self._target = target
        self._template = template
        self._fast = fast
        self._taken = {_MANIFEST}
        self._numbers = Counter[str]()
        self._kept: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.failed: list[dict[str, Any]] = []

    def keep_others(self, videos: Container[str]) -> None:
        """Keep the clips of other videos that earlier calls put there."""
        for line in self._target.read(_MANIFEST).splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # the list is a file that others may edit
                row = json.loads(line)
                if row["source"] not in videos and self._target.has(row["file"], _made_of(row["source"], row["clip"])):
                    self._kept.append(row)
                    self._taken.add(row["file"].casefold())

    def fail(self, video: str, name: str, error: VidpipeError, part: ClipRange | None = None) -> None:
        """Note what could not be made: a clip, or all of a video."""
        span = {"start_s": part.start_s, "end_s": part.end_s} if part else {}
        self.failed.append({"source": video, "source_name": name, **span, "error": error.message, "hint": error.hint})

    def add(
        self,
        name: str,
        part: ClipRange,
        request: ClipRequest,
        clip: Clip | VidpipeError | None,
        damaged: Sequence[tuple[float, float]],
    ) -> None:
        """Put a copy of a clip into the folder, unless it is there, or note why there is none.

        Args:
            name: Of the video.
            part: What was asked for.
            request: The same for the maker.
            clip: What was made, or why it could not be; None: it was not reached.
            damaged: The damaged times of the video.
        """
        video = request.video
        if not isinstance(clip, Clip):
            if clip:
                self.fail(video, name, clip, part)
            return
        number = self._numbers[video]
        self._numbers[video] += 1
        file = self._file_name(part, clip.path.suffix, {
            "name": Path(name).stem, "video": video[:16], "index": f"{number:05d}", "label": part.label,
            "start": f"{round(part.start_s * 1000):08d}", "end": f"{round(part.end_s * 1000):08d}",
        })  # fmt: skip
        self._target.put(file, _made_of(video, clip.path.stem), clip.path)
        start_s, end_s = clip.start_s, clip.end_s
        if not self._fast:
            start_s, end_s = max(0.0, part.start_s), min(part.end_s, end_s)
        self.rows.append({
            "file": file, "source": video, "source_name": name, "start_s": start_s, "end_s": end_s,
            "asked_start_s": part.start_s, "asked_end_s": part.end_s,
            "moved_start_s": round(start_s - part.start_s, 6), "moved_end_s": round(end_s - part.end_s, 6),
            "first_frame_s": clip.start_s, "frames_end_s": clip.end_s, "frames": clip.frames,
            "damaged": [span for span in damaged if span[0] < end_s and span[1] > start_s],
            "label": part.label, "scene": part.scene, "mode": "fast" if self._fast else "exact", "clip": clip.path.stem,
        })  # fmt: skip

    def write(self, versions: Mapping[str, str]) -> None:
        """Write the list, one JSON object a line; versions: of rules and models."""
        with self._target.open(_MANIFEST) as file:
            for row in self.rows:
                row["versions"] = dict(versions)
            for row in (*self._kept, *self.rows):
                file.write(json.dumps(row, ensure_ascii=False, sort_keys=True).encode() + b"\n")

    def sentences(self) -> Iterator[str]:
        """Yield what the user should know: what failed, how far clips were moved, which contain damage."""
        for one in self.failed:
            span = f" from {one['start_s']:g} s to {one['end_s']:g} s" if "start_s" in one else ""
            yield f"{one['source_name']}{span}: {one['error']} {one['hint']}"
        if self._kept:
            yield f"Clips of other videos stay: {len(self._kept)}."
        for row in self.rows:
            if self._fast:
                early, late = (round(row[name], 3) for name in ("moved_start_s", "moved_end_s"))
                way = "earlier" if late < 0 else "later"
                yield f"{row['file']}: starts {0 - early:.3f} s earlier, ends {abs(late):.3f} s {way}."
            elif row["moved_end_s"] < -_ROUNDING_S:
                yield f"{row['file']}: ends with the video, {-row['moved_end_s']:.3f} s earlier than asked for."
            if row["damaged"]:
                yield f"{row['file']}: the video is damaged there."

    def _file_name(self, part: ClipRange, suffix: str, values: Mapping[str, str]) -> str:
        """Return a name that no other file has, also where upper and lower case are the same."""
        filled = _FIELD.sub(lambda found: _safe(values[found[1]], _LONGEST_VALUE_BYTES), part.name or self._template)
        name = "/".join(_safe(folder, _LONGEST_NAME_BYTES) or "clip" for folder in filled.split("/"))
        number, unique = 1, f"{name}{suffix}"
        while unique.casefold() in self._taken:
            number += 1
            unique = f"{name}-{number}{suffix}"
        self._taken.add(unique.casefold())
        return unique


def _made_of(video: str, clip: str) -> str:
    """Return what identifies the bytes; by the hash of the video, `vidpipe forget` finds its clips."""
    return f"{video} {clip}"


def _safe(text: str, most_bytes: int) -> str:
    """Return a file name without folders, control characters or a leading dot."""
    return _UNSAFE.sub("_", visible(text)).lstrip(".-_").encode()[:most_bytes].decode(errors="ignore")
