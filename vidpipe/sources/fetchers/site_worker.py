"""Runs yt-dlp in a process of its own: `python -P -m vidpipe.sources.fetchers.site_worker`.

`site.SiteFetcher` starts it. It reads one request, a line of JSON, from standard input, and writes one as its answer:
`{"result": …}` or `{"error": "…"}`.

All requests go through the guard proxy, which applies the address policy. In case a part of yt-dlp does not use it, the
process refuses other connections, look-ups of names, and to start programs, except Deno, which runs YouTube's script
without access to the network and to files.
"""

import contextlib
import io
import json
import os
import resource
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vidpipe.errors import UNSAFE
from vidpipe.sources.source_data import SourceChapter, SourceData

#: Of formats that yt-dlp downloads by itself.
_PROTOCOLS = frozenset({"http", "https", "m3u8", "m3u8_native", "http_dash_segments"})
_REFUSED_EVENTS = (
    "socket.send", "socket.gethost", "socket.getname", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn",
    "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate", "sqlite3.",
)  # fmt: skip
#: Events that change files -> which of their arguments names the file.
_WRITING_EVENTS = {"open": 0, "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "os.rename": 1}
#: Field of SourceData -> of yt-dlp.
_TEXTS = {
    "site": "extractor", "page_url": "webpage_url", "video_id": "id", "title": "title", "uploader": "uploader",
    "licence": "license", "description": "description",
}  # fmt: skip
_MOST_TEXT, _MOST_CHAPTERS, _MOST_SUBTITLES, _MOST_SUBTITLE_BYTES = 20_000, 1000, 20, 300_000


class SiteRefusalError(Exception):
    """What was found cannot be downloaded; the message says why."""


def confine(port: int, most_bytes: int, folder: str) -> None:
    """Confine this process.

    Args:
        port: The one of this machine that it may connect to.
        most_bytes: Largest file.
        folder: The one in which it may write.
    """
    inside = os.path.join(os.path.realpath(folder), "") if folder else os.devnull

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        allowed = not event.startswith(_REFUSED_EVENTS)
        if event == "socket.connect":
            allowed = arguments[1][:2] == ("127.0.0.1", port)
        elif event == "socket.getaddrinfo":
            allowed = arguments[0] == "127.0.0.1"
        elif event == "subprocess.Popen":
            allowed = os.path.basename(arguments[0]) == "deno"
        elif event in _WRITING_EVENTS and (event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            path = arguments[_WRITING_EVENTS[event]]
            allowed = isinstance(path, int) or os.path.realpath(os.fsdecode(path)).startswith((inside, os.devnull))
        if not allowed:
            raise PermissionError(f"{event} is not allowed in this process")

    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    os.environ["YTDLP_NO_PLUGINS"] = "1"
    sys.modules["curl_cffi"] = None  # type: ignore[assignment]  # it connects without Python's sockets
    import yt_dlp  # noqa: F401  (while Python may still write its compiled modules)

    sys.addaudithook(check)


def cleaned(text: object, most: int = 1000) -> str:
    """Return a hostile text without control characters except line ends, cut to `most` characters."""
    return "\n".join(UNSAFE.sub("", line) for line in str(text or "")[:most].splitlines())


class SiteJob:
    """One request; see `SiteFetcher.ask`."""

    def __init__(self, request: dict[str, Any]) -> None:
        from yt_dlp import YoutubeDL

        self._url, self._folder, self._format = request["url"], request["folder"], request["format"]
        cookies = request["cookies"]  # read into memory: yt-dlp would write them back
        options = {
            **request["options"], "quiet": True, "no_warnings": True, "noprogress": True, "updatetime": False,
            # no files, programs and configuration of this machine
            "enable_file_urls": False, "cachedir": False, "ffmpeg_location": "/nonexistent", "fixup": "never",
            "external_downloader": {"default": "native"}, "js_runtimes": {"deno": {}},
            "cookiefile": io.StringIO(Path(cookies).read_text()) if cookies else None,
            "paths": {"home": self._folder}, "outtmpl": {"default": "%(format_id).80s.%(ext)s"},
            "noplaylist": True, "extract_flat": "in_playlist", "skip_unavailable_fragments": False,
            "format": self._select, "match_filter": self._check,
        }  # fmt: skip
        self._ydl = YoutubeDL(options)

    def knows(self) -> bool:
        """Return whether an extractor is made for the URL's site."""
        from yt_dlp.extractor import gen_extractor_classes

        return any(one.suitable(self._url) and one.IE_NAME != "generic" for one in gen_extractor_classes())

    def list(self) -> list[dict[str, str]]:
        """Return the entries of a playlist or channel."""
        found = self._ydl.extract_info(self._url, download=False)
        entries = filter(None, found.get("entries", [found]))
        return [{"url": one.get("url") or one["webpage_url"], "title": cleaned(one.get("title"))} for one in entries]

    def download(self) -> dict[str, Any]:
        """Download one video into the folder, its parts as separate files."""
        info = self._ydl.extract_info(self._url)
        if "requested_downloads" not in info:
            raise SiteRefusalError("it has several videos")
        names = [(Path(one["filepath"]).name, one.get("vcodec") != "none") for one in info["requested_downloads"]]
        day = str(info.get("upload_date"))
        fields: dict[str, Any] = {ours: cleaned(info.get(theirs), _MOST_TEXT) for ours, theirs in _TEXTS.items()}
        fields["uploaded_on"] = f"{day[:4]}-{day[4:6]}-{day[6:]}" if day.isdecimal() else None
        fields["chapters"] = [
            SourceChapter(
                start_s=one.get("start_time") or 0, end_s=one.get("end_time"), title=cleaned(one.get("title"), 300)
            )
            for one in (info.get("chapters") or ())[:_MOST_CHAPTERS]
        ]
        data = SourceData(**fields, subtitles=dict(self._subtitles(info)))
        return {"files": names, "data": data.model_dump(mode="json")}

    def _select(self, context: dict[str, Any]) -> Any:
        """Return the parts of the format that [Download] Format selects."""
        formats = [one for one in context["formats"] if one.get("protocol") in _PROTOCOLS]
        selected = self._ydl.build_format_selector(self._format)({**context, "formats": formats})
        return next(([*one.get("requested_formats", [one])] for one in selected), [])

    def _check(self, info: dict[str, Any], *, incomplete: bool = False) -> None:
        """Raise SiteRefusalError if what is about to be downloaded has no end, or is one of several videos."""
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming", "post_live"):
            raise SiteRefusalError("it is a live stream, which has no end")
        if not incomplete and info.get("playlist_index") is not None:
            raise SiteRefusalError("it has several videos")

    def _subtitles(self, info: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield the site's subtitles or, if it has none, the automatic ones of the spoken language."""
        automatic = info.get("automatic_captions") or {}
        spoken = [name for name in automatic if name.endswith("-orig") or name == info.get("language")][:1]
        wanted = info.get("subtitles") or {f"{name} (automatic)": automatic[name] for name in spoken}
        room, (_, most_bytes) = _MOST_SUBTITLE_BYTES, resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (min(most_bytes, 16 << 20), most_bytes))  # enough for the answer, too
        for number, (language, formats) in enumerate(islice(wanted.items(), _MOST_SUBTITLES)):
            path = Path(self._folder, f"subtitles{number}.vtt")
            with contextlib.suppress(Exception):  # the video is worth keeping without them
                chosen = next(one for one in formats if one.get("ext") == "vtt")
                self._ydl.dl(str(path), {"http_headers": info.get("http_headers"), **chosen}, subtitle=True)
                if len(text := path.read_text("utf-8", "replace")) <= room:
                    room -= len(text)
                    yield language.replace("-orig", "")[:50], cleaned(text, room)


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.buffer.readline())
    confine(urlsplit(request["options"]["proxy"]).port or 0, request["most_bytes"], request["folder"])
    try:
        answer = {"result": getattr(SiteJob(request), request["command"])()}
    except BaseException as error:
        answer = {"error": str(error) or type(error).__name__}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
