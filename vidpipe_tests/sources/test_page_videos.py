"""Generated pages of many shapes: which of their videos is chosen, and why; broken and hostile ones do no harm."""
# ruff: noqa: E501 - pages as they are

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidpipe.sources.page_videos import page_videos

BASE = "https://example.org/watch/page.html"
HERE = "https://example.org"


def linked(**fields: object) -> str:
    data = {"@context": "https://schema.org", "@type": "VideoObject", **fields}
    return f'<script type="application/ld+json">{json.dumps(data)}</script>'


def meta(**values: str) -> str:
    return "".join(f'<meta property="{name.replace("__", ":")}" content="{value}">' for name, value in values.items())


#: Name -> page, URL of the expected choice, where it was found, kind.
SHAPES: dict[str, tuple[str, str, str, str]] = {
    "video with src": ('<video src="film.mp4"></video>', f"{HERE}/watch/film.mp4", "the page's <video>", "file"),
    "video with source": (
        '<video controls><source src="/v/film.webm" type="video/webm"></video>', f"{HERE}/v/film.webm",
        "the page's <video>", "file",
    ),
    "source without a suffix": (
        '<video><source src="/stream?id=5" type="video/mp4"></video>', f"{HERE}/stream?id=5", "the page's <video>", "file",
    ),
    "several heights by res": (
        '<video><source src=a.mp4 res=360><source src=b.mp4 res=1080><source src=c.mp4 res=720></video>',
        f"{HERE}/watch/b.mp4", "the page's <video>, 1080p", "file",
    ),
    "several heights by label": (
        '<video><source src=a.mp4 label="360p"><source src=b.mp4 label="720p HD"></video>', f"{HERE}/watch/b.mp4",
        "the page's <video>, 720p", "file",
    ),
    "not above MaxHeight": (
        '<video><source src=a-2160p.mp4><source src=a-1080p.mp4><source src=a-480p.mp4></video>',
        f"{HERE}/watch/a-1080p.mp4", "the page's <video>, 1080p", "file",
    ),
    "a file before a stream": (
        '<video><source src=a.m3u8 type="application/x-mpegURL"><source src=a.mp4 type=video/mp4></video>',
        f"{HERE}/watch/a.mp4", "the page's <video>", "file",
    ),
    "a stream alone": ('<video src="/live/index.m3u8?x=1"></video>', f"{HERE}/live/index.m3u8?x=1", "the page's <video>", "stream"),
    "DASH": ('<video><source src="m" type="application/dash+xml"></video>', f"{HERE}/watch/m", "the page's <video>", "stream"),
    "lazy video": ('<video data-src="lazy.mp4"></video>', f"{HERE}/watch/lazy.mp4", "the page's <video>", "file"),
    "protocol-relative": ('<video src="//cdn.example.net/a.mp4">', "https://cdn.example.net/a.mp4", "the page's <video>", "file"),
    "base href": ('<base href="https://cdn.example.net/x/"><video src="a.mp4">', "https://cdn.example.net/x/a.mp4", "the page's <video>", "file"),
    "relative base": ('<base href="/media/"><video src="a.mp4">', f"{HERE}/media/a.mp4", "the page's <video>", "file"),
    "the second video is not the page's": (
        '<video src="one.mp4"></video><video src="two-1080p.mp4"></video>', f"{HERE}/watch/one.mp4",
        "the page's <video>", "file",
    ),
    "an advert before the film": (
        '<div class="ad-slot"><video src="buy-1080p.mp4"></video></div><video src="film.mp4"></video>',
        f"{HERE}/watch/film.mp4", "the page's <video>", "file",
    ),
    "a preview beside the film": (
        '<video src="/preview/film.mp4"></video><video src="/full/film.mp4"></video>', f"{HERE}/full/film.mp4",
        "the page's <video>", "file",
    ),
    "a decorative loop above a player": (
        '<video autoplay muted loop src="sea.mp4"></video><iframe src="https://player.example.com/embed/9"></iframe>',
        "https://player.example.com/embed/9", "an <iframe>", "embed",
    ),
    "related videos": (
        '<video src="film.mp4"></video><aside class="related"><video src="other-1080p.mp4"></video></aside>',
        f"{HERE}/watch/film.mp4", "the page's <video>", "file",
    ),
    "Open Graph file": (
        meta(og__video="http://example.org/a.mp4", og__video__secure_url="https://example.org/a.mp4", og__video__type="video/mp4", og__video__height="720"),
        "https://example.org/a.mp4", "its og:video, 720p", "file",
    ),
    "Open Graph player": (
        meta(og__video="https://example.org/embed/7", og__video__type="text/html"), "https://example.org/embed/7", "its og:video", "embed",
    ),
    "Twitter card": (
        '<meta name="twitter:player:stream" content="/s/1"><meta name="twitter:player" content="/p/1">', f"{HERE}/s/1",
        "its twitter:player:stream", "file",
    ),
    "JSON-LD": (linked(contentUrl="/a.mp4", height=1080), f"{HERE}/a.mp4", "its JSON-LD, 1080p", "file"),
    "JSON-LD in a graph": (
        f'<script type="application/ld+json">{json.dumps({"@graph": [{"@type": "WebPage"}, {"@type": ["VideoObject"], "contentUrl": "/g.mp4"}]})}</script>',
        f"{HERE}/g.mp4", "its JSON-LD", "file",
    ),
    "nested JSON-LD": (
        f'<script type="application/ld+json">{json.dumps([{"@type": "Article", "video": {"@type": "VideoObject", "contentUrl": "n.mp4"}}])}</script>',
        f"{HERE}/watch/n.mp4", "its JSON-LD", "file",
    ),
    "the trailer in JSON-LD": (
        f'<script type="application/ld+json">{json.dumps({"@type": "Movie", "trailer": {"@type": "VideoObject", "contentUrl": "t.mp4"}, "video": {"@type": "VideoObject", "contentUrl": "m.mp4"}})}</script>',
        f"{HERE}/watch/m.mp4", "its JSON-LD", "file",
    ),
    "only embedUrl": (linked(embedUrl="https://player.example.com/e/1"), "https://player.example.com/e/1", "its JSON-LD", "embed"),
    "microdata": ('<div itemscope><meta itemprop="contentUrl" content="/m.mp4"></div>', f"{HERE}/m.mp4", "its contenturl", "file"),
    "escaped URLs in a player's configuration": (
        r"""<script>setup({"sources":[{"file":"https:\/\/cdn.example.net\/a.mp4","label":"360p"},"""
        r"""{"file":"https:\/\/cdn.example.net\/b.mp4?x=1\u0026y=2","label":"720p"}]})</script>""",
        "https://cdn.example.net/b.mp4?x=1&y=2", "a script, 720p", "file",
    ),
    "height in a script": (
        "<script>var s=[{src:'/a.mp4',width:640,height:360},{src:'/b.mp4',width:1920,height:1080}]</script>", f"{HERE}/b.mp4",
        "a script, 1080p", "file",
    ),
    "manifest in a script": ('<script>player.load("/hls/master.m3u8")</script>', f"{HERE}/hls/master.m3u8", "a script", "stream"),
    "an embedded player": (
        '<iframe src="https://www.googletagmanager.com/ns.html"></iframe><iframe src="//www.youtube.com/embed/abc"></iframe>',
        "https://www.youtube.com/embed/abc", "an <iframe>", "embed",
    ),
    "a link to a file": ('<a href="talk.mp4">Download</a><a href="slides.pdf">Slides</a>', f"{HERE}/watch/talk.mp4", "a link", "file"),
    "noscript": ('<noscript><video src="a.mp4"></video></noscript>', f"{HERE}/watch/a.mp4", "the page's <video>", "file"),
    "upper case and no quotes": ("<VIDEO SRC=A.MP4></VIDEO>", f"{HERE}/watch/A.MP4", "the page's <video>", "file"),
    "a comment does not count": ('<!-- <video src="old.mp4"></video> --><video src="new.mp4">', f"{HERE}/watch/new.mp4", "the page's <video>", "file"),
    "broken HTML": ('<p><b><video controls><div><source src="a.mp4"></p></video></i><', f"{HERE}/watch/a.mp4", "", "file"),
    "user and password are dropped": ('<video src="https://u:p@example.org/a.mp4">', f"{HERE}/a.mp4", "the page's <video>", "file"),
    "unusable schemes before a usable one": (
        '<video><source src="blob:https://x/1"><source src="data:video/mp4;base64,AA"><source src="file:///etc/passwd">'
        '<source src="javascript:alert(1)"><source src="ok.mp4"></video>', f"{HERE}/watch/ok.mp4", "the page's <video>", "file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_the_expected_video_is_chosen(name: str) -> None:
    content, url, where, kind = SHAPES[name]
    page = page_videos(f"<!doctype html><html><title>A</title>{content}</html>".encode(), BASE, "text/html", 1080)
    best = page.videos[0]
    assert (best.url, best.kind) == (url, kind)
    if where:
        assert where in (best.where, best.where.replace("og:video:secure_url", "og:video"))


@pytest.mark.parametrize(
    "content",
    [
        "<p>nothing</p>", '<img src="a.jpg" srcset="a.jpg 1x, b.jpg 2x">', '<video poster="a.jpg"></video>',
        '<meta http-equiv="refresh" content="0; url=a.mp4">', '<picture><source srcset="a.webp"></picture>',
        '<audio><source src="a.mp3"></audio>', "<script>if (a < b) { x = 'no video' }</script>", "",
        '<video src="http://[::1/a.mp4"></video>', '<a href="page.html">x</a>', f'<video src="{"a" * 5000}.mp4">',
    ],
)  # fmt: skip
def test_pages_without_a_video(content: str) -> None:
    assert page_videos(content.encode(), BASE).videos == ()


def test_facts_about_the_video() -> None:
    page = linked(
        name="A\u0000 film", description="d" * 9000, uploadDate="2024-05-06T10:00:00Z", license="CC BY 4.0",
        author={"@type": "Person", "name": "Ann"}, contentUrl="/a.mp4",
    ) + meta(og__title="Other", og__site_name="Site")  # fmt: skip
    data = page_videos(page.encode(), BASE).data
    assert (data.title, data.uploader, data.licence, data.site) == ("A film", "Ann", "CC BY 4.0", "Site")
    assert data.uploaded_on == date(2024, 5, 6)
    assert len(data.description) == 5000


@pytest.mark.parametrize(
    ("charset", "stated"),
    [
        ("windows-1251", True),
        ("windows-1251", False),
        ("shift_jis", True),
        ("utf-8", False),
        ("punycode", True),
        ("x", True),
    ],
)
def test_any_charset(charset: str, stated: bool) -> None:
    title = {"windows-1251": "Кино", "shift_jis": "映画"}.get(charset, "Café")
    encoding = charset if charset not in ("punycode", "x") else "utf-8"
    declared = "" if stated else f'<meta charset="{charset}">'
    content = f"<html>{declared}<title>{title}</title><video src=a.mp4>".encode(encoding)
    page = page_videos(content, BASE, f"text/html; charset={charset}" if stated else "")
    assert page.data.title == title
    assert page.videos[0].url == f"{HERE}/watch/a.mp4"


def test_oembed_is_discovered() -> None:
    page = page_videos(b'<link rel=alternate type="application/json+oembed" href="/o?u=1">', BASE)
    assert (page.videos, page.oembed) == ((), f"{HERE}/o?u=1")


_PIECES = st.sampled_from(
    ["<video src=", "'a.mp4'", '"', "'", ">", "<source ", "</video>", "<script>", "</script", "<!--", "-->", "<base href=",
     "http://[", "<script type=application/ld+json>", '{"@type":"VideoObject","contentUrl":', "[", "}", "\0", "&#x110000;",
     "<meta property=og:video content=", "<title>", "//@:99999/", "<iframe src=", "<a href=//[x]y/a.mp4>", "\ud800", "😀", "%", "height=99999999"]
)  # fmt: skip


@given(
    st.one_of(
        st.binary(max_size=500),
        st.lists(_PIECES, max_size=40).map(lambda one: "".join(one).encode("utf-8", "surrogatepass")),
    )
)
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_never_raise(content: bytes) -> None:
    for one in page_videos(content, BASE, "text/html").videos:
        assert one.url.startswith(("http://", "https://"))


@pytest.mark.parametrize(
    "piece",
    ["<a b='", "<!--", "</", "&", "[", '"a.mp4?',
     '<script type="application/ld+json">{}</script>',
     *(pytest.param(slow, marks=pytest.mark.soak) for slow in ("<video>", "<div><source src=a.mp4>", "<title>"))],
)  # fmt: skip
def test_a_page_made_to_be_slow_ends(piece: str) -> None:
    # each takes minutes to hours in Python's parser by itself, or in a naive pattern
    page_videos(b"<script type=application/ld+json>" * (piece == "[") + piece.encode() * 40_000, BASE)


def test_a_long_attribute_around_many_elements_is_read_once() -> None:
    # written out for each of them, it takes minutes
    page = b'<div class="' + b"a " * 100_000 + b'">' + b"<p>text</p>" * 5_000 + b"<video src=a.mp4>"
    assert [one.url for one in page_videos(page, BASE).videos] == [f"{HERE}/watch/a.mp4"]
