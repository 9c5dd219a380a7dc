"""What yt-dlp and sites say when there is no video, as fetch errors with what can be done."""

import re

from vidpipe.errors import visible
from vidpipe.network.fetch_errors import FaultKind, FetchError

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
_SETTINGS = tuple(f"download.{name}" for name in ("cookies_file", "format", "max_height", "max_size_mb"))


def site_error(said: str) -> FetchError:
    """Return the error for what yt-dlp or a site said, without secrets."""
    kind, hint = next((kind, hint) for pattern, kind, hint in _CASES if re.search(pattern, said, re.IGNORECASE))
    # without the extractor, the id, and advice for yt-dlp's own command line
    words = re.sub(r"^(?:ERROR: )?(?:\[[\w:+-]+\] (?:[\w-]+: )?)?", "", " ".join(said.split()))
    words = re.split(r"\.? +(?:Use --|See +http)|; please report|\. If you believe| \(caused by", words)[0]
    message = f"the site gives no video: {visible(words)[:300].rstrip('. ')}."
    return FetchError(message, hint, kind=kind, depends_on=() if kind == "transient" else _SETTINGS, gone=hint == _GONE)
