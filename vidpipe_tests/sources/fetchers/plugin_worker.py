"""The worker with an extractor of its own, which writes down every connection, look-up and program it tries.

`SiteFetcher.worker` names this module in the tests. The log is the file that `watch_file` of the pages names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.globals import extractors
from yt_dlp.utils import ExtractorError

from vidpipe.sources.fetchers import site_worker

_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.system", "os.exec")


class TestSiteIE(InfoExtractor):
    """Pages below /site/ are JSON: what the extractor returns; `error` raises, `listed` is a playlist."""

    _VALID_URL = r"https?://[^/]+/site/(?P<id>[\w-]+)"
    IE_NAME = "testsite"

    def _real_extract(self, url: str) -> dict[str, Any]:
        name = self._match_id(url)
        page = self._download_json(url, name)
        if "error" in page:
            raise ExtractorError(page["error"], expected=True)
        if "connect" in page:
            self._try(page["connect"])
        if "listed" in page:
            entries = [self.url_result(one, video_title=title) for one, title in page["listed"]]
            return self.playlist_result(entries, name, "a list")
        return {"id": name, "title": name, **page}

    def _try(self, what: str) -> None:
        import socket
        import subprocess

        if what == "program":
            subprocess.run(["/bin/true"], check=True)
        elif what == "system":
            os.system("true")  # noqa: S605 - refused
        elif what == "lookup":
            socket.getaddrinfo("example.org", 80)
        elif what == "udp":
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 53))
        else:
            socket.create_connection(("127.0.0.1", int(what)))


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Write down what leaves the process."""
    if event in _EVENTS:
        print(event, arguments[:2], file=log, flush=True)


if __name__ == "__main__":
    log = Path(os.environ["TMPDIR"], "events.log").open("a")  # noqa: SIM115 - until the process ends
    sys.addaudithook(watch)
    Path(os.environ["TMPDIR"], "environment.log").write_text(str(dict(os.environ)))
    extractors.value = {"TestSiteIE": TestSiteIE}  # yt-dlp adds its own after it
    site_worker.main()
