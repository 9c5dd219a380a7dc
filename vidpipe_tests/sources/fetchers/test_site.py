"""Pages of sites, HLS and DASH come in through yt-dlp, which connects to nothing but the guard proxy."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from vidpipe.sources.fetchers import registry
from vidpipe.sources.fetchers.site import SiteFetcher, site_error
from vidpipe.sources.ingest import Ingest
from vidpipe.sources.inputs import gather
from vidpipe.sources.media_store import MediaStore
from vidpipe.sources.urls import SourceUrl
from vidpipe_tests.clips import moving
from vidpipe_tests.fault_server import FaultServer, Handler, Served, redirect
from vidpipe_tests.sources.conftest import IngestHome, sha256_of

ROOT = Path(__file__).parents[3]
KEY = bytes(range(16))


@pytest.fixture
def site(room: IngestHome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> IngestHome:
    """A home for which every page of this machine is one of a video site."""
    monkeypatch.setattr(registry, "SITES", frozenset({"127.0.0.1"}))
    monkeypatch.setattr(SiteFetcher, "worker", "vidpipe_tests.sources.fetchers.plugin_worker")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    room.with_download(host_interval=0, retries=0, read_timeout=20)
    return room


@pytest.fixture
def only_proxy(site: IngestHome, tmp_path: Path) -> Iterator[None]:
    """Fails a test in which yt-dlp tried to connect to anything but the proxy, to look up a name, or start a program.

    It asks for the version of ffmpeg, which the process refuses.
    """
    yield
    events = (tmp_path / "events.log").read_text().splitlines()
    assert any(line.startswith("socket.connect") for line in events)
    for line in events:
        if line == "subprocess.Popen ('ffmpeg', ['ffmpeg', '-bsfs'])":
            continue
        connected = re.fullmatch(r"socket\.connect .*\('127\.0\.0\.1', (\d+)\)\)", line)
        assert connected or line.startswith("socket.getaddrinfo ('127.0.0.1'"), line
        assert not connected or int(connected[1]) != site.server.port


def segments(folder: Path, *options: str) -> list[Path]:
    """Make an HLS stream of three segments in `folder`; return its segments."""
    clip = moving(folder / "clip.mp4", seconds=3, audio="sine", options=("-g", "25"))
    folder.mkdir(exist_ok=True)
    ffmpeg_hls = ["-c:v", "libx264", "-g", "25", "-c:a", "aac", "-hls_time", "1", "-hls_playlist_type", "vod", *options]
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", str(clip), *ffmpeg_hls, "-f", "hls", "list.m3u8"], cwd=folder, check=True
    )
    return sorted(folder.glob("list*.ts"))


@pytest.fixture(scope="session")
def hls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hls")
    segments(folder)
    return folder


def publish(server: FaultServer, folder: Path, names: Sequence[str] = ("*",)) -> None:
    for name in names:
        for path in folder.glob(name):
            server.add(f"/{path.name}", path.read_bytes(), content_type="application/octet-stream")


def packets(path: Path) -> dict[str, int]:
    """Return the number of packets of each codec."""
    shown = ["-count_packets", "-show_entries", "stream=codec_name,nb_read_packets", "-of", "json"]
    found = subprocess.run(["ffprobe", "-v", "error", *shown, str(path)], check=True, capture_output=True).stdout
    return {one["codec_name"]: int(one["nb_read_packets"]) for one in json.loads(found)["streams"]}


def page(server: FaultServer, name: str, **info: Any) -> str:
    """Publish a page of the test's own extractor; return its URL."""
    return server.add(f"/site/{name}", json.dumps(info).encode(), content_type="application/json")


@pytest.mark.usefixtures("only_proxy")
def test_an_hls_stream_is_stored_byte_for_byte(site: IngestHome, server: FaultServer, hls: Path) -> None:
    publish(server, hls, ("*.ts", "*.m3u8"))
    outcome = site.add_one(server.url("/list.m3u8"))
    assert outcome.state == "stored", outcome.error
    whole = b"".join(path.read_bytes() for path in sorted(hls.glob("*.ts")))
    assert outcome.video == sha256_of(whole)
    assert outcome.source is not None
    assert outcome.source.kind == "site"
    assert list((site.media / "incoming").glob("*.site")) == []


@pytest.mark.soak
@pytest.mark.usefixtures("only_proxy")
def test_an_encrypted_hls_stream_is_decrypted(site: IngestHome, server: FaultServer, tmp_path: Path) -> None:
    folder = tmp_path / "aes"
    folder.mkdir()
    (folder / "key").write_bytes(KEY)
    (folder / "info").write_text(f"key\n{folder / 'key'}\n{bytes(16).hex()}\n")
    segments(folder, "-hls_key_info_file", str(folder / "info"))
    publish(server, folder)
    outcome = site.add_one(server.url("/list.m3u8"))
    assert outcome.state == "stored", outcome.error
    (stored,) = site.stored_files()
    assert packets(stored)["h264"] == packets(folder / "clip.mp4")["h264"]
    assert KEY not in stored.read_bytes()


@pytest.mark.usefixtures("only_proxy")
@pytest.mark.soak
def test_the_sound_and_pictures_of_dash_are_joined(site: IngestHome, server: FaultServer, tmp_path: Path) -> None:
    folder = tmp_path / "dash"
    folder.mkdir()
    clip = moving(tmp_path / "clip.mp4", seconds=3, audio="sine")
    command = ["ffmpeg", "-v", "error", "-i", str(clip), "-c", "copy", "-seg_duration", "1", "-f", "dash", "list.mpd"]
    subprocess.run(command, cwd=folder, check=True)
    publish(server, folder)
    outcome = site.add_one(server.url("/list.mpd"))
    assert outcome.state == "stored", outcome.error
    (stored,) = site.stored_files()
    assert stored.suffix == ".mp4"
    assert packets(stored) == packets(clip)
    again = site.add_one(server.url("/list.mpd"), refresh=True)
    assert again.video == outcome.video  # joining is repeatable


@pytest.mark.usefixtures("only_proxy")
def test_what_a_site_says_is_kept(site: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes) -> None:
    small, large = server.add("/small.mp4", clip), server.add("/large.mp4", other_clip)
    subtitle = server.add("/en.vtt", b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\x1b[31m\n", content_type="text/vtt")
    formats = [
        {"url": small, "format_id": "small", "height": 180, "ext": "mp4"},
        {"url": large, "format_id": "large", "height": 2160, "ext": "mp4"},
    ]
    url = page(
        server, "video1", formats=formats, title="A walk\x1b[2J", uploader="Ann", upload_date="20260102",
        license="CC BY 4.0", description="first\nsecond\u202e" + "x" * 30_000,
        subtitles={"en": [{"url": subtitle, "ext": "vtt"}]},
        chapters=[{"start_time": 0, "end_time": 1.5, "title": "in"}, {"start_time": 1.5, "title": "out"}],
    )  # fmt: skip
    outcome = site.add_one(url)
    assert outcome.state == "stored", outcome.error
    assert outcome.video == sha256_of(clip)  # MaxHeight
    assert outcome.source is not None
    data = outcome.source.data
    assert data is not None
    assert (data.site, data.video_id, data.page_url) == ("testsite", "video1", url)
    assert (data.title, data.uploader, data.licence) == ("A walk[2J", "Ann", "CC BY 4.0")
    assert data.uploaded_on == date(2026, 1, 2)
    assert data.description.startswith("first\nsecondx")
    assert len(data.description) <= 20_000
    assert [(one.start_s, one.end_s, one.title) for one in data.chapters] == [(0, 1.5, "in"), (1.5, None, "out")]
    assert data.subtitles == {"en": "WEBVTT\n\n00:00.000 --> 00:01.000\nhello[31m"}


@pytest.mark.soak
def test_the_format_setting_is_obeyed(site: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes) -> None:
    formats = [
        {"url": server.add("/a.mp4", clip), "format_id": "a", "height": 180, "ext": "mp4"},
        {"url": server.add("/b.mp4", other_clip), "format_id": "b", "height": 90, "ext": "mp4"},
    ]
    url = page(server, "video1", formats=formats)
    site.with_download(host_interval=0, format="b[height<100]")
    assert site.add_one(url).video == sha256_of(other_clip)
    site.with_download(host_interval=0, format="b[height>1000]")
    other = page(server, "video2", formats=formats)
    assert "Change Format" in str(site.add_one(other).error)


@pytest.mark.soak
def test_automatic_captions_are_marked(site: IngestHome, server: FaultServer, clip: bytes) -> None:
    vtt = server.add("/a.vtt", b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n", content_type="text/vtt")
    captions = {name: [{"url": vtt, "ext": "vtt"}] for name in ("de", "en-orig", "fr")}
    url = page(server, "video1", url=server.add("/a.mp4", clip), ext="mp4", automatic_captions=captions)
    source = site.add_one(url).source
    assert source is not None
    assert source.data is not None
    assert list(source.data.subtitles) == ["en (automatic)"]


@pytest.mark.soak
def test_subtitles_that_cannot_be_fetched_or_are_too_long_do_not_matter(
    site: IngestHome, server: FaultServer, clip: bytes
) -> None:
    long = server.add("/long.vtt", b"WEBVTT\n" + b"x" * 400_000, content_type="text/vtt")
    subtitles = {"en": [{"url": server.url("/none.vtt"), "ext": "vtt"}], "de": [{"url": long, "ext": "vtt"}]}
    url = page(server, "video1", url=server.add("/a.mp4", clip), ext="mp4", subtitles=subtitles)
    outcome = site.add_one(url)
    assert outcome.state == "stored", outcome.error
    assert outcome.source is not None
    assert outcome.source.data is not None
    assert outcome.source.data.subtitles == {}


@pytest.mark.parametrize(
    ("said", "kind", "advice", "gone"),
    [
        ("ERROR: [youtube] dQw4: Sign in to confirm your age. Use --cookies", "permanent", "CookiesFile", False),
        ("Sign in to confirm you're not a bot. Use --cookies-from-browser or --cookies", "permanent", "Cookies", False),
        ("The uploader has not made this video available in your country", "permanent", "another source", False),
        ("ERROR: [vimeo] 12: This video is private", "permanent", "CookiesFile", False),
        ("Join this channel to get access to members-only content", "permanent", "CookiesFile", False),
        ("Video unavailable. This video has been removed by the uploader", "permanent", "is gone", True),
        ("Unable to download webpage: HTTP Error 404: Not Found", "permanent", "is gone", True),
        ("HTTP Error 429: Too Many Requests", "transient", "HostInterval", False),
        ("Unable to download webpage: HTTP Error 503: Service Unavailable", "transient", "", False),
        ("Read timed out", "transient", "", False),
        ("This video is DRM protected", "permanent", "another source", False),
        ("Unsupported URL: http://x/", "refused", "video itself", False),
        ("Unable to extract title; please report this issue on https://github.com", "permanent", "upgrade", False),
    ],
)
def test_the_refusal_of_a_site_is_shown_with_what_can_be_done(said: str, kind: str, advice: str, gone: bool) -> None:
    error = site_error(said)
    assert (error.kind, error.gone) == (kind, gone)
    assert advice in error.hint
    assert not re.search(r"--cookies|ERROR|\[youtube\]|report this", error.message)


def test_the_refusal_of_a_page_reaches_the_user(site: IngestHome, server: FaultServer) -> None:
    url = page(server, "video1", error="Sign in to confirm your age\x1b[31m. Use --cookies for it")
    outcome = site.add_one(url)
    assert outcome.state == "failed"
    assert not outcome.transient
    assert "Sign in to confirm your age" in str(outcome.error)
    assert "\x1b" not in str(outcome.error)
    assert "CookiesFile" in str(outcome.error)


def test_a_playlist_is_expanded(site: IngestHome, server: FaultServer) -> None:
    listed = [[server.url(f"/site/v{number}"), f"Video {number}\x1b"] for number in range(5)]
    url = page(server, "list", listed=[*listed, ["file:///etc/passwd", "x"]])
    fetcher = SiteFetcher(site.settings)
    found = list(fetcher.listing(SourceUrl(url)))
    assert [(one.url, one.title) for one in found] == [(url, title.strip("\x1b")) for url, title in listed]
    assert len(list(fetcher.listing(SourceUrl(url), 2))) == 2


@pytest.mark.soak
def test_a_playlist_given_as_a_video_is_refused_with_advice(site: IngestHome, server: FaultServer, clip: bytes) -> None:
    server.add("/a.mp4", clip)
    server.add("/b.mp4", clip)
    html = b"<html><title>two</title><video src=/a.mp4></video><video src=/b.mp4></video></html>"
    for url in (
        page(server, "list", listed=[[server.url("/site/v1"), "one"], [server.url("/site/v2"), "two"]]),
        server.add("/two", html, content_type="text/html"),
    ):
        outcome = site.add_one(url)
        assert outcome.state == "refused"
        assert "vidpipe add --all" in str(outcome.error)
    assert [seen.path for seen in server.requests if seen.path == "/a.mp4" and seen.sent > 100_000] == []


@pytest.mark.soak
def test_a_page_with_one_video_is_fetched(site: IngestHome, server: FaultServer, clip: bytes) -> None:
    server.add("/a.mp4", clip)
    html = b"<html><title>A page</title><video src=/a.mp4></video></html>"
    outcome = site.add_one(server.add("/page", html, content_type="text/html"))
    assert outcome.state == "stored", outcome.error
    assert outcome.video == sha256_of(clip)


@pytest.mark.parametrize(
    ("path", "is_folder"),
    [
        ("youtube.com/playlist?list=PL1", True),
        ("youtube.com/watch?v=a&list=PL1", False),
        ("youtube.com/watch?v=a", False),
        ("youtube.com/@name", True),
        ("youtube.com/@name/videos", True),
        ("youtube.com/@name/live", False),
        ("youtube.com/channel/UC1", True),
        ("youtube.com/c/name/streams", True),
        ("youtube.com/user/name", True),
        ("youtube.com/shorts/a", False),
        ("youtu.be/a?list=PL1", False),
        ("vimeo.com/showcase/12", True),
        ("vimeo.com/showcase/12/video/34", False),
        ("vimeo.com/album/12", True),
        ("vimeo.com/channels/staffpicks", True),
        ("vimeo.com/channels/staffpicks/34", False),
        ("vimeo.com/34", False),
        ("dailymotion.com/playlist/x1", True),
        ("dailymotion.com/video/x1", False),
        ("twitch.tv/name/videos", True),
        ("twitch.tv/videos/12", False),
        ("tiktok.com/@name", True),
        ("tiktok.com/@name/video/12", False),
    ],
)
def test_playlists_are_recognized_by_their_address(room: IngestHome, path: str, is_folder: bool) -> None:
    assert SiteFetcher(room.settings).is_folder(f"https://www.{path}") is is_folder


@pytest.mark.soak
def test_sites_with_an_extractor_are_known(room: IngestHome) -> None:
    fetcher = SiteFetcher(room.settings)
    assert fetcher.knows("https://www.youtube.com/watch?v=dQw4w9WgXcQ")
    assert fetcher.knows("https://player.vimeo.com/video/12345")
    assert not fetcher.knows("https://example.org/videos/clip.html")


def playlist(*names: str, end: str = "#EXT-X-ENDLIST\n") -> bytes:
    lines = "".join(f"#EXTINF:1.0,\n{name}\n" for name in names)
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n{lines}{end}".encode()


@pytest.mark.usefixtures("only_proxy")
@pytest.mark.parametrize(
    "segment",
    [
        "file:///etc/passwd",
        pytest.param("http://169.254.169.254/latest/meta-data/", marks=pytest.mark.soak),
        pytest.param("http://2852039166/latest/meta-data/", marks=pytest.mark.soak),
        pytest.param("http://[::ffff:169.254.169.254]/x", marks=pytest.mark.soak),
        pytest.param("http://10.0.0.1/x.ts", marks=pytest.mark.soak),
        pytest.param("https://127.0.0.1:1/x.ts", marks=pytest.mark.soak),
        pytest.param("ftp://127.0.0.1/x.ts", marks=pytest.mark.soak),
        pytest.param("concat:/etc/passwd|/etc/hosts", marks=pytest.mark.soak),
        pytest.param("/etc/passwd", marks=pytest.mark.soak),
        "INNER",
        "REDIRECT",
    ],
)
def test_a_hostile_playlist_reaches_nothing(site: IngestHome, server: FaultServer, hls: Path, segment: str) -> None:
    publish(server, hls, ("*.ts",))
    with FaultServer() as inner:
        secret = inner.add("/secret.ts", (hls / "list0.ts").read_bytes())
        server.add("/moved.ts", b"", always=redirect(secret))
        named = {"INNER": secret, "REDIRECT": "/moved.ts"}.get(segment, segment)
        url = server.add("/list.m3u8", playlist("list0.ts", named), content_type="application/vnd.apple.mpegurl")
        outcome = site.add_one(url)
        assert outcome.state in ("failed", "refused")
        if segment.isupper() or "169.254" in segment:
            assert outcome.state == "refused"
            assert "AllowedPrivate" in str(outcome.error)
        assert inner.requests == []
    assert site.stored_files() == []
    assert "root:" not in str(outcome.error)


@pytest.mark.soak
@pytest.mark.parametrize("key", ["file:///etc/hostname", "http://169.254.169.254/key", "http://10.0.0.1/key"])
def test_a_hostile_key_is_not_fetched(site: IngestHome, server: FaultServer, hls: Path, key: str) -> None:
    publish(server, hls, ("*.ts",))
    listed = playlist("list0.ts").replace(b"#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{key}"\n#EXTINF'.encode(), 1)
    outcome = site.add_one(server.add("/list.m3u8", listed, content_type="application/vnd.apple.mpegurl"))
    assert outcome.state in ("failed", "refused")
    assert site.stored_files() == []


@pytest.mark.parametrize(
    "what",
    [
        "program",
        "inner",
        *(pytest.param(name, marks=pytest.mark.soak) for name in ("system", "lookup", "udp")),
    ],
)
def test_a_part_of_yt_dlp_that_ignores_the_proxy_gets_nowhere(
    site: IngestHome, server: FaultServer, clip: bytes, what: str
) -> None:
    with FaultServer() as inner:
        video = server.add("/a.mp4", clip)
        given = str(inner.port) if what == "inner" else what
        outcome = site.add_one(page(server, "video1", url=video, ext="mp4", connect=given))
        assert outcome.state == "failed"
        assert "is not allowed in this process" in str(outcome.error)
        assert inner.requests == []


@pytest.mark.soak
def test_a_live_stream_is_refused(site: IngestHome, server: FaultServer, hls: Path) -> None:
    publish(server, hls, ("*.ts",))
    endless = server.add("/list.m3u8", playlist("list0.ts", end=""), content_type="application/vnd.apple.mpegurl")
    for url in (endless, page(server, "live", url=server.url("/list0.ts"), ext="mp4", is_live=True)):
        outcome = site.add_one(url)
        assert outcome.state == "refused"
        assert "live stream" in str(outcome.error)
    assert [seen for seen in server.requests if seen.path == "/list0.ts"] == []


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["m3u8", "mpd"])
def test_a_giant_manifest_is_not_read_to_its_end(site: IngestHome, server: FaultServer, kind: str) -> None:
    site.with_download(host_interval=0, retries=0, read_timeout=20, max_size_mb=10)
    body = b"#EXTM3U\n" + b"#EXTINF:1.0,\nx.ts\n" * (4 << 20)
    if kind == "mpd":
        body = b'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">' + b"<x/>" * (16 << 20)
    url = server.add(f"/list.{kind}", body, content_type="application/octet-stream")
    outcome = site.add_one(url)
    assert outcome.state in ("failed", "refused")
    assert server.requests[-1].sent < len(body)


@pytest.mark.soak
def test_a_manifest_that_expands_to_billions_of_segments_ends(site: IngestHome, server: FaultServer) -> None:
    mpd = (
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT9999999H"><Period>'
        '<AdaptationSet mimeType="video/mp4"><SegmentTemplate timescale="1000000" duration="1" startNumber="1" '
        'media="x$Number$.m4s" initialization="i.m4s"/><Representation id="v" bandwidth="1" codecs="avc1.4d401f" '
        'width="320" height="180"/></AdaptationSet></Period></MPD>'
    )
    site.with_download(host_interval=0, retries=0, read_timeout=1)
    outcome = site.add_one(server.add("/list.mpd", mpd.encode(), content_type="application/dash+xml"))
    assert outcome.state == "failed"


@pytest.mark.soak
@pytest.mark.parametrize("every_s", [0.3, 60.0])
def test_a_stream_that_stalls_is_a_transient_error(
    site: IngestHome, server: FaultServer, hls: Path, every_s: float
) -> None:
    def slowly(handler: Handler, served: Served) -> None:
        handler.head(200, {"Content-Length": "1000000"})
        handler.drip(every_s, b"x")

    publish(server, hls, ("*.ts", "*.m3u8"))
    server.add("/list1.ts", b"x", always=slowly)
    site.with_download(host_interval=0, retries=0, read_timeout=2, min_speed=1 << 20)
    outcome = site.add_one(server.url("/list.m3u8"))
    assert outcome.state == "failed"
    assert outcome.transient
    assert every_s > 1 or "stalled" in str(outcome.error)


@pytest.mark.soak
def test_a_cancelled_download_leaves_its_parts_and_is_continued(
    site: IngestHome, server: FaultServer, hls: Path
) -> None:
    publish(server, hls, ("*.ts", "*.m3u8"))
    cancelled = threading.Event()

    def stop(handler: Handler, served: Served) -> None:
        cancelled.set()
        handler.hang()

    server.files["/list2.ts"].faults.append(stop)
    requests = gather([server.url("/list.m3u8")]).requests
    started = time.monotonic()
    (outcome,) = Ingest(site.settings, site.sources, cancelled=cancelled).run(requests)
    assert outcome.state == "cancelled"
    assert time.monotonic() - started < 20
    assert len(list((site.media / "incoming").glob("*.site"))) == 1
    before = len(server.requests)
    outcome = site.add_one(server.url("/list.m3u8"))
    assert outcome.state == "stored", outcome.error
    assert "/list0.ts" not in [seen.path for seen in server.requests[before:]]
    whole = b"".join(path.read_bytes() for path in sorted(hls.glob("*.ts")))
    assert outcome.video == sha256_of(whole)


@pytest.mark.soak
def test_a_video_that_is_too_large_is_refused(site: IngestHome, server: FaultServer) -> None:
    site.with_download(host_interval=0, retries=0, max_size_mb=1)
    large = page(server, "large", url=server.add("/large.mp4", bytes(3 << 20)), ext="mp4")
    assert "MaxSizeMB" in str(site.add_one(large).error)

    def endless(handler: Handler, served: Served) -> None:
        handler.head(200, {"Content-Type": "video/mp4"})
        while not handler.pause(0):
            handler.write(bytes(1 << 16))

    url = page(server, "endless", url=server.add("/endless.mp4", b"", always=endless), ext="mp4")
    outcome = site.add_one(url)
    assert outcome.state in ("failed", "refused")
    assert site.stored_files() == []
    assert list((site.media / "incoming").glob("*.site")) == []


@pytest.mark.soak
def test_cookies_are_sent_and_never_written_back(
    site: IngestHome, server: FaultServer, clip: bytes, tmp_path: Path
) -> None:
    jar = tmp_path / "cookies.txt"
    content = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tsecret-value\n"
    jar.write_text(content)
    site.with_download(host_interval=0, cookies_file=str(jar))
    server.add("/a.mp4", clip, headers={"Set-Cookie": "other=1"})
    outcome = site.add_one(page(server, "video1", url=server.url("/a.mp4"), ext="mp4"))
    assert outcome.state == "stored", outcome.error
    assert "session=secret-value" in server.requests[0].headers["cookie"]
    assert jar.read_text() == content
    jar.unlink()
    missing = site.add_one(page(server, "video2", url=server.url("/a.mp4"), ext="mp4"))
    assert "cookies.txt" in str(missing.error)


@pytest.mark.soak
def test_requests_to_a_host_keep_their_distance(site: IngestHome, server: FaultServer) -> None:
    site.with_download(host_interval=3, retries=0)
    urls = [page(server, f"v{number}", error="private") for number in range(3)]
    started = time.monotonic()
    site.add(*urls)
    assert time.monotonic() - started > 6


def test_the_proxy_of_the_environment_is_not_bypassed(site: IngestHome, server: FaultServer) -> None:
    site.with_download(host_interval=0, use_proxy=True)
    outcome = site.add_one(page(server, "video1", error="x"))
    assert "UseProxy" in str(outcome.error)
    assert server.requests == []


@pytest.mark.soak
def test_the_worker_has_no_secrets_in_its_environment(
    site: IngestHome, server: FaultServer, clip: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIDPIPE_SOURCE_PASSWORD", "geheim")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    outcome = site.add_one(page(server, "video1", url=server.add("/a.mp4", clip), ext="mp4"))
    assert outcome.state == "stored", outcome.error
    assert "geheim" not in (tmp_path / "environment.log").read_text()


def test_parts_of_an_abandoned_download_are_deleted(site: IngestHome) -> None:
    store = MediaStore(site.settings)
    folder = store.incoming / "0123.site"
    folder.mkdir()
    (folder / "part.mp4.part").write_bytes(b"x")
    assert store.clean(1.0) == []
    assert store.clean(0.0) == [folder]
    assert not folder.exists()


@pytest.mark.soak
@pytest.mark.parametrize("field", ["format_id", "ext", "id", "title"])
@pytest.mark.parametrize("value", ["../../../evil", "{outside}/evil", "%(title)s", "\x1b[31mx\0y", "a" * 500])
def test_no_name_leads_out_of_the_folder(
    site: IngestHome, server: FaultServer, clip: bytes, field: str, value: str
) -> None:
    outside = site.home.parent / "outside"
    outside.mkdir()
    info = {"url": server.add("/a.mp4", clip), "ext": "mp4", field: value.format(outside=outside)}
    outcome = site.add_one(page(server, "video1", **info))
    assert outcome.state == ("failed" if field == "ext" else "stored"), outcome.error
    assert "\x1b" not in str(outcome.error)
    assert list(outside.iterdir()) == []
    assert [path for path in site.home.parent.rglob("*evil*") if site.media not in path.parents] == []
    assert list((site.media / "incoming").glob("*.site")) == []


@pytest.mark.soak
def test_links_planted_among_incomplete_files_are_not_followed(
    site: IngestHome, server: FaultServer, clip: bytes, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.mp4").write_bytes(b"kept")
    urls = [page(server, f"v{number}", url=server.add("/a.mp4", clip), ext="mp4", format_id="f") for number in (1, 2)]
    incoming = MediaStore(site.settings).incoming
    folders = [incoming / f"{request.id}.site" for request in gather(urls).requests]
    folders[0].symlink_to(outside)
    planted = folders[1] / SourceUrl(urls[1]).id
    planted.mkdir(parents=True)
    for name in ("f.mp4", "f.mp4.part"):
        (planted / name).symlink_to(outside / "kept.mp4")
    site.add(*urls)
    assert [path.read_bytes() for path in outside.iterdir()] == [b"kept"]
    assert all(sha256_of(path.read_bytes()) == sha256_of(clip) for path in site.stored_files())


@pytest.mark.soak
def test_endless_subtitles_end_and_do_not_become_those_of_another_language(
    site: IngestHome, server: FaultServer, clip: bytes
) -> None:
    def endless(handler: Handler, served: Served) -> None:
        handler.head(200, {"Content-Type": "text/vtt"})
        while not handler.pause(0):
            handler.write(b"x" * (1 << 16))

    text = b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n"
    urls = {"en": server.add("/en.vtt", b"", always=endless), "de": server.add("/de.vtt", text)}
    subtitles = {language: [{"url": url, "ext": "vtt"}] for language, url in urls.items()}
    outcome = site.add_one(page(server, "v", url=server.add("/a.mp4", clip), ext="mp4", subtitles=subtitles))
    assert outcome.state == "stored", outcome.error
    assert outcome.source is not None
    assert outcome.source.data is not None
    assert outcome.source.data.subtitles == {"de": text.decode().rstrip("\n")}
    assert server.seen("/en.vtt")[0].sent < 64 << 20


@pytest.mark.soak
def test_user_and_password_of_a_page_are_not_sent_to_other_hosts(
    site: IngestHome, server: FaultServer, clip: bytes, tmp_path: Path
) -> None:
    with FaultServer() as other:
        jar = tmp_path / "cookies.txt"
        jar.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tsecret-value\n")
        site.with_download(
            host_interval=0, cookies_file=str(jar), allowed_private=("127.0.0.1", f"localhost:{other.port}")
        )
        far = other.url("/site/far").replace("127.0.0.1", "localhost")
        video = other.add("/a.mp4", clip).replace("127.0.0.1", "localhost")
        page(other, "far", url=video, ext="mp4")
        url = server.add("/site/near", b"", always=redirect(far))
        outcome = site.add_one(url.replace("http://", "http://ann:s3cr3t@"))
        assert outcome.state == "stored", outcome.error
        assert "secret-value" in server.requests[0].headers["cookie"]
        assert {seen.path for seen in other.requests} == {"/site/far", "/a.mp4"}
        assert all(not {"authorization", "cookie"} & seen.headers.keys() for seen in other.requests)
    assert outcome.source is not None
    assert "s3cr3t" not in outcome.source.model_dump_json()


@pytest.mark.soak
def test_the_limit_of_a_channel_counts_the_videos_of_all_tabs(
    site: IngestHome, server: FaultServer, clip: bytes
) -> None:
    tabs = []
    for tab in ("c1", "c2"):
        listed = [[server.url(f"/site/{tab}-{number}"), "x"] for number in range(3)]
        tabs.append([page(server, f"{tab}/videos", listed=listed), tab])
    channel = page(server, "channel", listed=tabs)
    assert len(gather([channel], every=True, limit=4, settings=site.settings).requests) == 4
