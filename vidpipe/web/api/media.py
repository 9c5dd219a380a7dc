"""Thumbnails, frames, files and subtitles of videos."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response

from vidpipe.errors import UNSAFE, MediaError
from vidpipe.library.queries.show import said, stored_fields
from vidpipe.library.videos import name_of
from vidpipe.media.facts import PackReference
from vidpipe.media.frame_pack import FramePack
from vidpipe.operations.kept_home import OpenHome
from vidpipe.stages.contract import INGEST
from vidpipe.text.webvtt import webvtt
from vidpipe.web.access import Reader
from vidpipe.web.home import Opened
from vidpipe.web.problems import RequestError
from vidpipe.web.selection import Sha256

router = APIRouter(tags=["media"])

_RANGE = re.compile(r"bytes=(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{0,18})|-(?P<suffix>[0-9]{1,18}))")
#: Container, as ffprobe names it -> Content-Type; browsers play Matroska of these codecs as WebM.
_TYPES = {
    "mov": "video/mp4", "webm": "video/webm", "matroska": "video/x-matroska", "mpegts": "video/mp2t",
    "avi": "video/x-msvideo", "mpeg": "video/mpeg", "flv": "video/x-flv", "ogg": "video/ogg", "gif": "image/gif",
}  # fmt: skip
_FILE: dict[str, Any] = {"content": {"video/*": {}, "image/gif": {}, "application/octet-stream": {}}}
_RESPONSES: dict[str, dict[int | str, dict[str, Any]]] = {
    "picture": {200: {"content": {"image/jpeg": {}}}, 304: {"description": "Not modified."}},
    "media": {200: _FILE, 206: {**_FILE, "description": "A part of it."}, 304: {"description": "Not modified."}},
    "subtitles": {200: {"content": {"text/vtt": {"schema": {"type": "string"}}}}},
}
_RUN = "`vidpipe run` makes it; `vidpipe show` says what prevents that."

SceneIndex = Annotated[int | None, Query(ge=0, description="Index of a scene; without it, the poster.")]
Time = Annotated[float, Query(ge=0, allow_inf_nan=False, description="Time in seconds.")]
Download = Annotated[bool, Query(description="Store it instead of showing it.")]
Version = Annotated[str | None, Query(max_length=64, description="Version of the picture; it may be kept for ever.")]


class OneRange(FileResponse):
    """A file of which one range may be asked for; of several, all of it is sent."""

    max_ranges = 1


def cached(request: Request, etag: str, *, forever: bool = False) -> tuple[dict[str, str], Response | None]:
    """Return the headers of an answer that changes with `etag`, and the answer itself if the client has it already.

    Args:
        request: The request.
        etag: Changes with the answer.
        forever: The answer to this URL never changes.
    """
    kept = "max-age=31536000, immutable" if forever else "no-cache"
    headers = {"ETag": f'"{etag}"', "Cache-Control": f"private, {kept}"}
    known = headers["ETag"] in request.headers.get("if-none-match", "")
    return headers, Response(status_code=304, headers=headers) if known else None


def file_response(
    request: Request, path: Path, media_type: str, etag: str, *, forever: bool = False, file_name: str | None = None
) -> Response:
    """Return the response with a file, or with the range of it that was asked for.

    Args:
        request: The request.
        path: Of the file.
        media_type: Its Content-Type.
        etag: Changes with its content.
        forever: See `cached`.
        file_name: Under which the browser stores it; None: it shows it.

    Raises:
        RequestError: There is no such file, or the range is outside of it.
    """
    if not path.is_file():
        raise RequestError(404, f"The file {path.name} is not there.", "`vidpipe check` lists what is missing.")
    headers, answer = cached(request, etag, forever=forever)
    if answer is not None:
        return answer
    asked, found = request.headers.get("range", ""), path.stat()
    if asked and "," not in asked and "if-range" not in request.headers and not _is_within(asked, found.st_size):
        outside = {"Content-Range": f"bytes */{found.st_size}"}
        raise RequestError(416, "This range is outside of the file.", f"It has {found.st_size} bytes.", outside)
    return OneRange(path, headers=headers, media_type=media_type, filename=file_name, stat_result=found)


def _is_within(asked: str, size: int) -> bool:
    match = _RANGE.fullmatch(asked)
    if match is None or match["suffix"]:
        return match is not None and min(int(match["suffix"]), size) > 0
    return int(match["first"]) < size and int(match["last"] or size) >= int(match["first"])


def inside(folder: Path, path: Path) -> Path:
    """Return the real path of a file that must be in `folder`.

    Raises:
        RequestError: It is elsewhere.
    """
    real = path.resolve()
    if not real.is_relative_to(folder.resolve()):
        raise RequestError(404, f"The file {path.name} is not where vidpipe stores such files.", "Run `vidpipe check`.")
    return real


def _picture(request: Request, read: Callable[[], bytes], version: str, place: object, asked: str | None) -> Response:
    """Return the response with a JPEG. If its version was `asked` for, the URL will never mean another one."""
    headers, answer = cached(request, f"{version}-{place}", forever=asked == version)
    try:
        return answer or Response(read(), headers=headers, media_type="image/jpeg")
    except OSError:
        raise RequestError(404, "The file of this picture is not there.", _RUN) from None


def _of_scenes(opened: OpenHome, sha256: str, name: str) -> Any:
    return (stored_fields(opened.library, sha256, f"scenes.{name}").get("scenes") or {}).get(name)


def _pack(opened: OpenHome, sha256: str) -> FramePack | None:
    pack = _of_scenes(opened, sha256, "pack")
    if not pack:
        return None
    inside(opened.settings.derived_directory, opened.settings.resolve(pack["path"]))
    return opened.library.files.pack(sha256, PackReference.model_validate(pack))


@router.get("/videos/{sha256}/thumbnail", response_class=Response, responses=_RESPONSES["picture"])
def get_thumbnail(
    request: Request, opened: Opened, sha256: Sha256, caller: Reader, *, scene: SceneIndex = None, v: Version = None
) -> Response:
    """Return a thumbnail: the poster, or that of a scene."""
    stored = _of_scenes(opened, sha256, "poster" if scene is None else "thumbnails")
    if scene is not None:
        stored = next((one["path"] for one in stored or () if one["scene"] == scene), None)
    if not stored:
        raise RequestError(404, "There is no such thumbnail.", _RUN)
    path = inside(opened.settings.derived_directory, opened.settings.resolve(stored))
    with suppress(MediaError):  # named, so that the cache keeps it
        _kept = None if path.is_file() else _pack(opened, sha256)
    return _picture(request, path.read_bytes, path.parent.name, path.stem, v)


@router.get("/videos/{sha256}/frame", response_class=Response, responses=_RESPONSES["picture"])
def get_frame(
    request: Request, opened: Opened, sha256: Sha256, caller: Reader, *, t: Time, v: Version = None
) -> Response:
    """Return the frame nearest to a time, of those that were kept for the model."""
    pack = _pack(opened, sha256)
    found = pack.nearest(t) if pack else None
    if pack is None or found is None:
        raise RequestError(404, "No frames of this video are stored.", _RUN)
    return _picture(request, lambda: found[1], pack.folder.name, found[0].time_s, v)


@router.head("/videos/{sha256}/media", include_in_schema=False)
@router.get("/videos/{sha256}/media", response_class=Response, responses=_RESPONSES["media"])
def get_media(
    request: Request, opened: Opened, sha256: Sha256, caller: Reader, *, download: Download = False
) -> Response:
    """Return the original file, or a range of it."""
    row = stored_fields(opened.library, sha256, INGEST, "raw_video.path", "metadata.container", "metadata.video_codec")
    facts, metadata, settings = row[INGEST], row.get("metadata") or {}, opened.settings
    stored = (row.get("raw_video") or facts)["path"]
    if not facts.get("referenced"):
        inside(settings.media_directory, settings.resolve(stored))
    is_webm = metadata.get("container") == "matroska" and metadata.get("video_codec") in ("vp8", "vp9", "av1")
    media_type = _TYPES.get("webm" if is_webm else metadata.get("container", ""), "application/octet-stream")
    file_name = UNSAFE.sub("_", name_of(row)).replace("/", "_").replace("\\", "_") if download else None
    # once it is open, it can be sent although it is deleted from the cache
    with opened.library.files.video(sha256, stored) as path:
        if path.is_file() and path.stat().st_size != facts["size_bytes"]:
            raise RequestError(409, f"The file {path.name} is not the one that was added.", "Add it again.")
        return file_response(request, path, media_type, sha256, file_name=file_name)


@router.get("/videos/{sha256}/subtitles.vtt", response_class=Response, responses=_RESPONSES["subtitles"])
def get_subtitles(opened: Opened, sha256: Sha256, caller: Reader) -> Response:
    """Return what is said as WebVTT: recognized speech, else the first subtitle stream."""
    row = stored_fields(opened.library, sha256, "speech.segments", "metadata.cues")
    found = sorted((one["start_s"], one["end_s"], one["text"]) for one in said(row))
    return Response(webvtt(found), media_type="text/vtt")
