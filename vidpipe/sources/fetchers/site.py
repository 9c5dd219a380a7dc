"""Videos of sites, HLS and DASH: yt-dlp in a process of its own downloads them, ffmpeg joins their parts."""

import contextlib
import json
import re
import shutil
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import urlsplit

from vidpipe.errors import UnavailableError, VidpipeError, visible
from vidpipe.media import ffmpeg, programs
from vidpipe.network.fetch_errors import FaultKind, FetchCancelled, FetchError
from vidpipe.network.guard_proxy import GuardProxy
from vidpipe.network.http_response import Validators
from vidpipe.settings import Settings
from vidpipe.sources.fetchers.fetcher import FetchTask, ListedFile, TransferResult
from vidpipe.sources.source_data import SourceData
from vidpipe.sources.urls import SourceUrl, canonical_url, safe_file_name, scrub

_TABS = r"(?:/(?:videos|shorts|streams|featured|playlists))?/?$"
_KINDS = "channel|c|user|playlist|showcase|album|channels|groups|collections"
_FOLDER = re.compile(rf"/videos/?$|^/@[^/]+{_TABS}|^/(?:{_KINDS})/[^/]+{_TABS}|^/playlist\?(?:.*&)?list=")
_MEMORY_BYTES, _START_S, _JOIN_S = 1 << 30, 60.0, 3600.0
#: By host: who has the lock waits for HostInterval before asking it.
_hosts: defaultdict[str | None, threading.Lock] = defaultdict(threading.Lock)

_ELSEWHERE = "Use another source of this video."
_GONE = f"It is gone. {_ELSEWHERE}"
_COOKIES = "If you may see it, name a file with the cookies of your login in [Download] CookiesFile."
#: (pattern of what was said, kind, what to do); the first that fits counts.
_CASES: tuple[tuple[str, FaultKind, str], ...] = (
    ("several videos", "refused", "Run `vidpipe add --all URL`, or add the address of the playlist itself."),
    ("live stream|live event", "refused", "Add its recording after the stream has ended."),
    ("file:.*disabled|unsupported url|no video", "refused", "Use the address of the video itself."),
    (r"\b429\b|too many requests|rate.?limit", "transient", "Wait, or raise HostInterval in [Download]."),
    (r"time.?out|timed out|error 5\d\d", "transient", ""),
    (r"\bdrm\b|countr|\bgeo|your (location|region)", "permanent", _ELSEWHERE),
    (r"sign in|log.?in|private|member|subscri|premium|\bage\b|a bot|cookie| 40[13]", "permanent", _COOKIES),
    ("removed|deleted|terminated|no longer|not exist|not found|unavailable| 404| 410", "permanent", _GONE),
    ("format|MaxSizeMB", "permanent", "Change Format, MaxHeight or MaxSizeMB in [Download]."),
    ("connect|reset|incomplete|unable to download", "transient", ""),
    ("", "permanent", "The site may have changed: run `pip install --upgrade yt-dlp`."),
)
_DEPENDS_ON = tuple(f"download.{name}" for name in ("cookies_file", "format", "max_height", "max_size_mb"))


class SiteFetcher:
    """Brings in pages of video sites, and HLS and DASH streams.

    Attributes:
        worker: Module that runs yt-dlp.
    """

    worker = "vidpipe.sources.fetchers.site_worker"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def is_folder(self, url: str) -> bool:
        """Return whether a URL names a playlist or channel."""
        parts = urlsplit(url)
        return any(map(_FOLDER.search, (parts.path, f"{parts.path}?{parts.query}")))

    def listing(self, url: SourceUrl, limit: int | None = None, *, tabs: bool = True) -> Iterator[ListedFile]:
        """Yield the videos of a playlist or channel, by default with those of a channel's tabs."""
        limit = limit or self._settings.download.max_entries
        for one in self.ask("list", url, playlistend=limit):
            with contextlib.suppress(VidpipeError):  # not an http(s) URL
                found = SourceUrl(canonical_url(one["url"]))
                if not self.is_folder(found.reveal()):
                    yield ListedFile(found.reveal(), title=one["title"] or None)
                elif tabs:
                    yield from self.listing(found, limit, tabs=False)

    def knows(self, url: str) -> bool:
        """Return whether yt-dlp has an extractor made for a URL's site; nothing is requested."""
        return bool(self.ask("knows", SourceUrl(url)))

    def open(self, task: FetchTask) -> "SiteDownload":
        """Return the attempts to download a video."""
        return SiteDownload(self, task)

    def ask(self, command: str, url: SourceUrl, task: FetchTask | None = None, folder: str = "", **more: Any) -> Any:
        """Run yt-dlp and return its result.

        Args:
            command: A method of `SiteJob`.
            url: Page or stream.
            task: Gets the progress, and ends the process once it is cancelled.
            folder: For the files.
            **more: Further options of yt-dlp.

        Raises:
            FetchError: There is no video, or it could not be downloaded.
            FetchCancelled: It was cancelled.
            UnavailableError: Something needed for the request is missing.
        """
        limits, cancelled = self._settings.download, task.cancelled if task else threading.Event()
        if limits.use_proxy:
            raise UnavailableError("Video sites cannot be reached through a proxy.", "Set UseProxy = no in [Download].")
        height = f"[height<={limits.max_height}]" if limits.max_height else ""
        most_bytes, counted = limits.max_size_mb << 20, 0
        cookies = str(self._settings.resolve(limits.cookies_file)) if limits.cookies_file else ""
        with GuardProxy(limits) as guard, TemporaryFile() as given, TemporaryFile() as told:
            request = {
                "url": url.reveal(), "command": command, "folder": folder, "most_bytes": most_bytes, "cookies": cookies,
                "format": limits.format or f"bv*{height}+ba/b{height}/bv*{height}/wv*+ba/w/wv*",
                "options": {
                    "proxy": guard.url, "socket_timeout": limits.read_timeout, "retries": 2, "fragment_retries": 2,
                    "max_filesize": most_bytes, "sleep_interval_requests": limits.host_interval, **more,
                },
            }  # fmt: skip
            given.write(json.dumps(request).encode() + b"\n")
            given.seek(0)
            with _hosts[urlsplit(url.reveal()).hostname]:
                if cancelled.wait(0 if command == "knows" else limits.host_interval):
                    raise FetchCancelled
            program, window = [sys.executable, "-P", "-m", self.worker], time.monotonic()
            process = programs.spawn(program, stdin=given, stdout=told, stderr=DEVNULL, memory_bytes=_MEMORY_BYTES)
            try:
                while process.poll() is None:
                    if cancelled.wait(0.1):
                        raise FetchCancelled
                    if guard.received_bytes > guard.max_bytes:
                        raise site_error("the video is larger than MaxSizeMB")
                    if task is not None:
                        task.on_bytes(guard.received_bytes, None)
                        task.reservations.reserve(task.part.path.name, 0)
                    if time.monotonic() - window >= limits.read_timeout + (0 if counted else _START_S):
                        if guard.received_bytes - counted < limits.min_speed * limits.read_timeout:
                            raise site_error("timeout: the site stalled")
                        counted, window = guard.received_bytes, time.monotonic()
            finally:
                programs.stop(process)
            told.seek(0)
            answer = json.loads(told.read() or b'{"error": "yt-dlp crashed, or needs more than 1 GB of memory"}')
        if "error" in answer:
            refused = [error for error in guard.errors if error.kind == "refused"]
            raise next(iter(refused or guard.errors[-1:]), site_error(scrub(answer["error"], url.reveal(), guard.url)))
        return answer["result"]


class SiteDownload:
    """The attempts to download one video; the next one continues its files.

    Args:
        fetcher: Runs yt-dlp.
        task: The task.
    """

    def __init__(self, fetcher: SiteFetcher, task: FetchTask) -> None:
        self._fetcher, self._task = fetcher, task
        # of its own: another video of the same page must not continue these files
        self._folder = task.part.path.with_suffix(".site") / SourceUrl(task.url.display_url).id

    def close(self) -> None:
        """Nothing is open between attempts."""

    def attempt(self, known: Validators | None = None) -> TransferResult:
        """Download the video and what the site says about it."""
        task = self._task
        if self._folder.parent.is_symlink():
            self._folder.parent.unlink()
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            found = self._fetcher.ask("download", task.url, task, str(self._folder))
            path = self._joined([(self._folder / name, is_video) for name, is_video in found["files"]])
            task.part.adopt(path, task.cancelled)
        except FetchError as error:
            if not error.transient:
                shutil.rmtree(self._folder.parent)
            raise error.about(task.url.display_url) from error.__cause__
        shutil.rmtree(self._folder.parent)
        data = SourceData.model_validate_json(scrub(json.dumps(found["data"]), task.url.reveal()))
        name = safe_file_name(data.title + path.suffix)
        return TransferResult(Validators(), None, data.page_url or task.url.display_url, name, data=data)

    def _joined(self, files: Sequence[tuple[Path, bool]]) -> Path:
        """Return one file with all parts, unchanged."""
        if not all(path.is_file() and not path.is_symlink() for path, _ in files):  # yt-dlp has skipped one
            raise site_error("the format is larger than MaxSizeMB")
        if len(files) == 1:
            return files[0][0]
        made = self._folder / ("joined.mp4" if {path.suffix for path, _ in files} <= {".mp4", ".m4a"} else "joined.mkv")
        inputs = [part for path, _ in files for part in ffmpeg.input_arguments(path)]
        maps = [part for at, (_, is_video) in enumerate(files) for part in ("-map", f"{at}:{'av'[is_video]}:0")]
        output = ["-c", "copy", "-map_metadata", "-1", "-fflags", "+bitexact", f"file:{made}"]
        command = ffmpeg.ffmpeg_command("-v", "error", "-y", *inputs, *maps, *output)
        done = programs.run(command, timeout_s=_JOIN_S, task="joining picture and sound")
        if done.returncode:
            raise FetchError(f"picture and sound cannot be joined: {done.stderr.strip()[-300:]}.")
        return made


def site_error(said: str) -> FetchError:
    """Return the error for what yt-dlp or a site said, without secrets."""
    kind, hint = next((kind, hint) for pattern, kind, hint in _CASES if re.search(pattern, said, re.IGNORECASE))
    # without the extractor, the id, and advice for yt-dlp's own command line
    words = re.sub(r"^(?:ERROR: )?(?:\[[\w:+-]+\] (?:[\w-]+: )?)?", "", " ".join(said.split()))
    words = re.split(r"\.? +(?:Use --|See +http)|; please report|\. If you believe| \(caused by", words)[0]
    message = f"the site gives no video: {visible(words)[:300].rstrip('. ')}."
    return FetchError(
        message, hint, kind=kind, depends_on=() if kind == "transient" else _DEPENDS_ON, gone=hint == _GONE
    )
