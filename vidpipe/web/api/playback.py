"""What a browser can play, playable copies of what it cannot, and storyboards."""

from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel

from vidpipe.errors import MediaError
from vidpipe.library.queries.show import stored_fields
from vidpipe.library.videos import read_result
from vidpipe.media.frame_pack import FramePack
from vidpipe.media.playability import Playability, measured_start, playability
from vidpipe.media.storyboard import Storyboard, layout, sprite
from vidpipe.operations.kept_home import OpenHome
from vidpipe.operations.proxies import ProxyState
from vidpipe.stages.results import Metadata, Scenes
from vidpipe.storage.object_store import StoreError
from vidpipe.web.access import Reader
from vidpipe.web.api.media import Version, cached, file_response
from vidpipe.web.home import Home, Opened
from vidpipe.web.problems import RequestError
from vidpipe.web.selection import Sha256

router = APIRouter(tags=["media"])

_FIELDS = ("ingest", "raw_video", "metadata", "scenes")


def _sends(media_type: str) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of a file."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"content": content}, 206: {"content": content}, 304: {"description": "The client has it."}}


class Playback(BaseModel):
    """How a browser plays a video.

    Attributes:
        playable: Whether all browsers play the original.
        reason: Why, or why not.
        url: What to play: the original, or else the proxy, which `POST` to the same address makes.
        proxy: The proxy.
    """

    playable: bool
    reason: str
    url: str
    proxy: ProxyState


class StoryboardView(BaseModel):
    """A storyboard: equal tiles in one JPEG, row by row.

    Attributes:
        url: Of the JPEG.
        columns: Tiles in a row.
        rows: Number of rows.
        width: Of a tile, in pixels.
        height: Of a tile, in pixels.
        times_s: What each tile shows, in seconds.
    """

    url: str
    columns: int
    rows: int
    width: int
    height: int
    times_s: list[float]


def _stored(opened: OpenHome, sha256: str) -> tuple[dict[str, Any], Metadata | None, Scenes | None]:
    """Return a video's document, and its typed results of the stages metadata and scenes."""
    row = stored_fields(opened.library, sha256, *_FIELDS)
    metadata, scenes = (read_result(opened.library.graph, name, row) for name in ("metadata", "scenes"))
    return row, metadata if isinstance(metadata, Metadata) else None, scenes if isinstance(scenes, Scenes) else None


def _playability(opened: OpenHome, sha256: str) -> Playability:
    row, metadata, scenes = _stored(opened, sha256)
    if metadata is None:
        return Playability(False, "It is not known yet what the file holds; run the stage metadata.")
    try:
        with opened.library.files.video(sha256, (row.get("raw_video") or row["ingest"])["path"]) as path:
            webm, starts_s = measured_start(path, metadata.video_stream)
    except (MediaError, StoreError, OSError):
        return Playability(False, "The file cannot be read.")
    return playability(metadata, scenes.damage if scenes else None, webm=webm, starts_s=starts_s)


@router.get("/videos/{sha256}/playback")
def get_playback(home: Home, opened: Opened, sha256: Sha256, caller: Reader) -> Playback:
    """Return whether browsers play a video, what to play, and the state of its proxy."""
    found = _playability(opened, sha256)
    url = f"/api/v1/videos/{sha256}/{'media' if found.playable else 'proxy'}"
    state = home.proxies.state(opened.settings, sha256)
    return Playback(playable=found.playable, reason=found.reason, url=url, proxy=state)


@router.post("/videos/{sha256}/proxy", status_code=202)
def make_proxy(home: Home, opened: Opened, sha256: Sha256, caller: Reader) -> ProxyState:
    """Have a playable copy of a video made in the background, also if it failed before.

    The copy is H.264 and AAC in MP4 with at most 1280x720 pixels, and its times are those of the library.
    """
    _stored(opened, sha256)
    return home.proxies.request(opened.settings, sha256)


@router.get("/videos/{sha256}/proxy", response_class=Response, responses=_sends("video/mp4"))
def get_proxy(request: Request, home: Home, opened: Opened, sha256: Sha256, caller: Reader) -> Response:
    """Return the playable copy of a video; ranges of bytes are supported."""
    path = home.proxies.played(opened.settings, sha256)
    if path is None:
        _stored(opened, sha256)
        raise RequestError(404, "The video has no playable copy yet.", "POST to the same address makes it.")
    return file_response(request, path, "video/mp4", str(path.stat().st_mtime_ns))


def _storyboard(opened: OpenHome, sha256: str) -> tuple[FramePack, Storyboard, str, float]:
    """Return the pack, the storyboard, its version and the duration of the video."""
    _, metadata, scenes = _stored(opened, sha256)
    with suppress(MediaError):
        if scenes is not None and scenes.pack is not None and scenes.pack.frames:
            pack = opened.library.files.pack(sha256, scenes.pack)
            size = (metadata or pack.frames[0]).width, (metadata or pack.frames[0]).height
            return pack, layout(pack, *size), scenes.pack.version, scenes.duration_s
    hint = f"Run `vidpipe run {sha256[:12]} --stage scenes`."
    raise RequestError(404, "No frames of the video are stored.", hint)


@router.get("/videos/{sha256}/storyboard")
def get_storyboard(opened: Opened, sha256: Sha256, caller: Reader) -> StoryboardView:
    """Return the layout of a video's storyboard."""
    _, board, version, _ = _storyboard(opened, sha256)
    return StoryboardView(
        url=f"/api/v1/videos/{sha256}/storyboard.jpg?v={version}", columns=board.columns, rows=board.rows,
        width=board.tile[0], height=board.tile[1], times_s=[frame.time_s for frame in board.frames],
    )  # fmt: skip


@router.get("/videos/{sha256}/storyboard.jpg", response_class=Response, responses=_sends("image/jpeg"))
def get_storyboard_picture(
    request: Request, opened: Opened, sha256: Sha256, caller: Reader, v: Version = None
) -> Response:
    """Return the JPEG of a video's storyboard, which the first request makes."""
    pack, board, version, _ = _storyboard(opened, sha256)
    try:
        return file_response(request, sprite(pack, board), "image/jpeg", version, forever=v == version)
    except OSError:
        hint = "The disk may be full, or the frames deleted."
        raise RequestError(404, "The storyboard cannot be stored.", hint) from None


@router.get("/videos/{sha256}/storyboard.vtt", response_class=Response, responses=_sends("text/vtt"))
def get_storyboard_times(
    request: Request, opened: Opened, sha256: Sha256, caller: Reader, v: Version = None
) -> Response:
    """Return as WebVTT which part of the storyboard shows which time."""
    _, board, version, duration_s = _storyboard(opened, sha256)
    headers, answer = cached(request, version, forever=v == version)
    return answer or Response(board.webvtt(duration_s), media_type="text/vtt", headers=headers)
