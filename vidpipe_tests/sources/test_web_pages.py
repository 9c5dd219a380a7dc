"""URLs of web pages: their video is fetched as any other, and no page leads where nothing may be fetched from."""

from __future__ import annotations

import gzip
import time

import pytest

from vidpipe.network.fetch_errors import FetchError
from vidpipe.network.http_response import PartialState
from vidpipe.sources.fetchers.site import SiteFetcher
from vidpipe.sources.inputs import gather
from vidpipe.sources.media_store import MediaStore
from vidpipe.sources.partial_file import PartialFile
from vidpipe.sources.source_request import request_for
from vidpipe_tests.fault_server import FaultServer, cut, gzipped, redirect, slow, status
from vidpipe_tests.sources.conftest import IngestHome, sha256_of

HTML = "text/html; charset=utf-8"


def add_page(server: FaultServer, content: str, path: str = "/watch/page.html", **how: object) -> str:
    page = f"<!doctype html><html><head><title>A film</title></head><body>{content}</body></html>"
    return server.add(path, page.encode(), content_type=HTML, ranges=False, **how)


def test_the_video_of_a_page_is_stored_with_the_choice_and_its_reason(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    video = server.add("/watch/film-720p.mp4", clip)
    url = add_page(server, '<video><source src="film-720p.mp4"><source src="film-360p.mp4"></video>')
    outcome = room.add_one(url)
    assert (outcome.state, outcome.video) == ("stored", sha256_of(clip))
    record = outcome.source
    assert record is not None
    assert record.data is not None
    assert (record.data.chosen, record.data.title, record.data.page_url) == (video, "A film", url)
    assert record.data.reason == "the page's <video>, 720p, best of 2"
    assert outcome.as_json()["chosen"] == video
    assert server.seen("/watch/film-720p.mp4")[0].headers["referer"] == url
    assert server.seen("/watch/film-360p.mp4") == []
    assert room.partial_files() == []


@pytest.mark.soak
def test_a_redirected_page_is_the_base_of_its_links(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    add_page(server, '<video src="../v/a.mp4">', "/deep/er/page")
    server.add("/deep/v/a.mp4", clip)
    outcome = room.add_one(server.add("/short", b"", always=redirect("/deep/er/page")))
    assert outcome.state == "stored", outcome.error


@pytest.mark.soak
def test_a_broken_download_of_a_video_is_resumed_although_its_page_is_read_again(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    # page and video have the same ETag: it must not be taken for the other's
    server.add("/a.mp4", clip, faults=[cut(0.5)])
    url = add_page(server, '<video src="/a.mp4?signature=other-each-time">', "/page")
    assert room.add_one(url).state == "stored"
    first, second = server.seen("/a.mp4")
    assert "range" not in first.headers
    assert second.headers["range"] == f"bytes={first.sent}-"
    assert all("range" not in seen.headers for seen in server.seen("/page"))


@pytest.mark.soak
def test_refreshing_asks_the_video_whether_it_has_changed(
    room: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes
) -> None:
    server.add("/a.mp4", clip)
    server.add("/b.mp4", other_clip)  # with the same ETag
    url = add_page(server, '<video src="/a.mp4">', "/page")
    room.add_one(url)
    assert room.add_one(url, refresh=True).state == "unchanged"
    assert [seen.status for seen in server.seen("/a.mp4")] == [200, 304]
    add_page(server, '<video src="/b.mp4">', "/page")
    outcome = room.add_one(url, refresh=True)
    assert (outcome.state, outcome.video) == ("stored", sha256_of(other_clip))


def test_the_next_video_is_taken_if_one_cannot_be_fetched(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    server.add("/last.mp4", clip)
    again = add_page(server, "<video src=/x.mp4>", "/again.mp4")
    url = add_page(server, f'<video><source src=/none-720p.mp4><source src="{again}"><source src=/last.mp4></video>')
    outcome = room.add_one(url)
    assert outcome.state == "stored", outcome.error
    assert outcome.source
    assert outcome.source.data
    assert outcome.source.data.reason == "the page's <video>, best of 3, after 2 failed"
    assert server.seen("/x.mp4") == []  # one hop only


@pytest.mark.parametrize(
    "inward",
    ["http://169.254.169.254/latest/a.mp4",
     *(pytest.param(f"http://{host}/a.mp4", marks=pytest.mark.soak)
       for host in ("localhost:1", "[::1]", "10.0.0.1", "2130706433:2"))],
)  # fmt: skip
def test_a_page_that_points_inward_reaches_nothing(
    room: IngestHome, server: FaultServer, clip: bytes, inward: str
) -> None:
    outcome = room.add_one(add_page(server, f'<video src="{inward}"></video>'))
    assert outcome.state == "refused"
    assert any(hint in str(outcome.error) for hint in ("AllowedPrivate", "obfuscated"))
    server.add("/good.mp4", clip)
    mixed = add_page(server, f'<video><source src="{inward}"><source src="/good.mp4"></video>', "/mixed")
    assert room.add_one(mixed).state == "stored"


def test_files_and_other_schemes_are_no_videos_of_a_page(room: IngestHome, server: FaultServer) -> None:
    url = add_page(server, '<video src="file:///etc/passwd"></video><iframe src="javascript:embed()"></iframe>')
    outcome = room.add_one(url)
    assert outcome.state == "refused"
    assert "“A film”" in str(outcome.error)
    assert "no video was found" in str(outcome.error)
    assert "CookiesFile" in str(outcome.error)


def test_passwords_of_the_page_go_to_its_own_host_only(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    with FaultServer() as other:
        room.with_download(allowed_private=("127.0.0.1",))
        other.add("/far.mp4", b"", always=status(404))
        server.add("/near.mp4", clip, authorization="Basic YW5uOnMzY3IzdA==")
        content = f'<video><source src="{other.url("/far.mp4")}"><source src="/near.mp4"></video>'
        url = add_page(server, content, authorization="Basic YW5uOnMzY3IzdA==")
        outcome = room.add_one(url.replace("http://", "http://ann:s3cr3t@") + "?token=t0ken-of-page")
        assert outcome.state == "stored", outcome.error
        (far,) = other.seen("/far.mp4")
        assert "authorization" not in far.headers
        assert far.headers["referer"] == url
    assert outcome.source is not None
    for secret in ("s3cr3t", "t0ken-of-page"):
        assert secret not in outcome.source.model_dump_json()


def test_secrets_that_a_page_echoes_are_not_kept(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    server.add("/a.mp4", clip)
    url = add_page(
        server, '<meta name="description" content="you sent t0ken-of-page"><video src="/a.mp4?x=t0ken-of-page">'
    )
    outcome = room.add_one(f"{url}?token=t0ken-of-page")
    assert outcome.state == "stored"
    assert outcome.source is not None
    assert "t0ken-of-page" not in outcome.source.model_dump_json()


@pytest.mark.soak
def test_large_slow_and_compressed_pages_are_read_within_limits(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    server.add("/a.mp4", clip)
    large = add_page(server, '<video src="/a.mp4"></video>' + "<p>text</p>" * 3_000_000, "/large")
    assert room.add_one(large).state == "stored"
    assert server.seen("/large")[0].sent < 30_000_000
    bomb = add_page(server, '<video src="/a.mp4"></video>' + " " * 50_000_000, "/bomb", always=gzipped)
    assert len(gzip.compress(server.files["/bomb"].content, 1)) < 1_000_000
    assert room.add_one(bomb).state == "already stored"
    room.with_download(retries=0, min_speed=1000, read_timeout=0.5)
    began = time.monotonic()
    outcome = room.add_one(add_page(server, "<p>" * 1000, "/slow", always=slow(10, 0.1)))
    assert (outcome.state, outcome.transient) == ("failed", True)
    assert time.monotonic() - began < 60


def test_a_meta_refresh_is_not_followed(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    server.add("/a.mp4", clip)
    assert room.add_one(add_page(server, '<meta http-equiv="refresh" content="0; url=/a.mp4">')).state == "refused"
    assert server.seen("/a.mp4") == []


@pytest.mark.soak
def test_pages_that_name_each_other_end(room: IngestHome, server: FaultServer) -> None:
    add_page(server, '<video src="/one"></video>', "/two")
    outcome = room.add_one(add_page(server, '<video src="/two"></video><video src="/one?x"></video>', "/one"))
    assert outcome.state == "refused"
    assert len(server.requests) <= 6


@pytest.mark.soak
def test_a_busy_server_of_a_video_is_asked_again_before_the_next_one(
    room: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes
) -> None:
    server.add("/best-720p.mp4", clip, faults=[status(503)])
    server.add("/next.mp4", other_clip)
    url = add_page(server, "<video><source src=/best-720p.mp4><source src=/next.mp4></video>")
    assert room.add_one(url).video == sha256_of(clip)


def test_oembed_is_asked_if_the_page_itself_names_no_video(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    server.add("/a.mp4", clip)
    server.add("/o", b'{"type":"video","html":"<video src=/a.mp4></video>"}', content_type="application/json")
    url = add_page(server, '<link rel="alternate" type="application/json+oembed" href="/o">')
    assert room.add_one(url).state == "stored"


def test_every_video_of_a_page(room: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes) -> None:
    server.add("/a.mp4", clip)
    server.add("/b.mp4", other_clip)
    url = add_page(
        server, "<video src=/a.mp4></video><video src=/b.mp4></video><div id=ad><video src=/c.mp4></video></div>"
    )
    outcomes = room.add(url, every=True, settings=room.settings)
    assert [outcome.state for outcome in outcomes] == ["stored", "stored"]
    assert len(gather([url], every=True, limit=1, settings=room.settings).requests) == 1
    (alone,) = gather([server.url("/a.mp4")], every=True, settings=room.settings).requests
    assert alone.url.reveal() == server.url("/a.mp4")


def test_looking_for_videos_keeps_the_bytes_of_an_unfinished_download(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    url = server.add("/a.mp4", clip, always=cut(0.0001))  # too little to tell what it is
    part = PartialFile(MediaStore(room.settings).incoming, request_for(url).id)
    part.start(PartialState(etag='"one"', total_bytes=len(clip)))
    part.append(clip[:5000])
    part.close()
    gathered = gather([url], every=True, settings=room.settings)
    assert "interrupted" in str(gathered.problems[0].error)
    assert part.path.read_bytes() == clip[:5000]


def test_links_that_are_gone_have_a_date(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    never = room.add_one(server.url("/never.mp4"))
    assert never.state == "gone"
    assert never.source
    assert never.source.state == "gone"
    assert never.source.next_try_at is None
    since = never.source.gone_since
    assert since is not None
    again = room.add_one(server.url("/never.mp4"))
    assert again.source
    assert again.source.gone_since == since
    assert len(server.seen("/never.mp4")) == 2
    server.add("/never.mp4", clip)
    back = room.add_one(server.url("/never.mp4"))
    assert back.state == "stored"
    assert back.source
    assert back.source.gone_since is None


def test_a_stored_video_whose_link_is_gone_is_kept(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    url = server.add("/a.mp4", clip)
    room.add_one(url)
    served = server.files.pop("/a.mp4")
    outcome = room.add_one(url, refresh=True)
    assert (outcome.state, outcome.video, outcome.error) == ("unchanged", sha256_of(clip), None)
    assert outcome.source
    assert outcome.source.state == "stored"
    assert outcome.source.gone_since
    assert outcome.note == f"gone since {outcome.source.gone_since.astimezone():%Y-%m-%d}; its video is kept"
    assert room.add_one(url).state == "already stored"
    server.files["/a.mp4"] = served
    back = room.add_one(url, refresh=True)
    assert back.source
    assert back.source.gone_since is None


def test_a_page_whose_videos_are_gone_is_gone(room: IngestHome, server: FaultServer) -> None:
    assert room.add_one(add_page(server, "<video src=/a.mp4></video><video src=/b.mp4></video>")).state == "gone"
    assert not FetchError("no", kind="refused").gone


def test_a_page_that_names_its_video_does_not_start_yt_dlp(
    room: IngestHome, server: FaultServer, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SiteFetcher, "worker", "no.such.module")
    server.add("/a.mp4", clip)
    for number, page in enumerate(("<video src=/a.mp4>", "caf\xe9 <video src=/a.mp4>", "[1] <video src=/a.mp4>")):
        url = server.add(f"/page{number}", page.encode("latin-1"), content_type="text/html")
        assert room.add_one(url).state in ("stored", "already stored")
