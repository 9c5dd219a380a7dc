"""Hostile pages, streams and servers: every place where a page names a video, filled with what must not be reached."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from vidpipe_tests.clips import ffmpeg, told_apart
from vidpipe_tests.fault_server import (
    FaultServer,
    chunked,
    cut,
    endless,
    gzipped,
    hang,
    redirect,
    slow,
    slow_headers,
    status,
    wrong_length,
)
from vidpipe_tests.hostile.cases import REBOUND, Case, Expectation, Inside

_HTML = "text/html; charset=utf-8"
_HLS = "application/vnd.apple.mpegurl"
_DASH = "application/dash+xml"
#: Where a page names a video.
_PLACES = {
    "video": '<video src="{}"></video>',
    "source": '<video><source src="{}" type="video/mp4"></video>',
    "og": '<meta property="og:video" content="{}">',
    "og_secure": '<meta property="og:video:secure_url" content="{}">',
    "twitter": '<meta name="twitter:player:stream" content="{}">',
    "iframe": '<iframe src="{}"></iframe>',
    "embed": '<embed src="{}">',
    "script": '<script>player.setup({{"file": "{}"}})</script>',
    "link": '<a href="{}">video</a>',
    "oembed": '<link rel="alternate" type="application/json+oembed" href="{}">',
    "refresh": '<meta http-equiv="refresh" content="0; url={}">',
    "base": '<base href="{}"><video src="v.mp4"></video>',
}


def hostile_pages(server: FaultServer, inside: Inside, folder: Path) -> Iterator[Case]:
    """Serve the pages and yield a case for each."""
    folder.mkdir()
    clip = ffmpeg(
        folder / "clip.mp4", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=1", "-pix_fmt", "yuv420p"
    ).read_bytes()

    def page(name: str, body: str | bytes, expect: Expectation, content_type: str = _HTML) -> Case:
        data = (
            body
            if isinstance(body, bytes)
            else f"<!doctype html><html><head><title>{name}</title></head>{body}".encode()
        )
        return Case(name, server.add(f"/{name}", data, content_type=content_type), expect)

    for target, url in inside.targets().items():
        for place, html in _PLACES.items():
            yield page(f"{place}_{target}", html.format(url), "refused")
        ld = {"@type": "VideoObject", "contentUrl": url, "embedUrl": url, "name": "x"}
        yield page(f"jsonld_{target}", f'<script type="application/ld+json">{json.dumps(ld)}</script>', "refused")
        yield Case(f"redirect_{target}", server.add(f"/to_{target}", b"", always=redirect(url)), "refused")
        hop = server.add(f"/hop_{target}.mp4", b"", always=redirect(url))
        yield page(f"page_hop_{target}", f'<video src="{hop}"></video>', "refused")
        for name, text in _streams(url).items():
            kind = _DASH if name.startswith("dash") else _HLS
            suffix = "mpd" if name.startswith("dash") else "m3u8"
            yield page(f"{name}_{target}.{suffix}", text.encode(), "refused", kind)
    yield from _odd_servers(server, clip)
    yield from _odd_documents(page)
    yield from _odd_embeds(server, page, inside)
    yield from _rebound(server, page, clip)
    yield from _good(server, clip, folder)


def _streams(url: str) -> dict[str, str]:
    head = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:1\n"
    return {
        "hls_segment": f"{head}#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
        "hls_key": f'{head}#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:1,\n/clip.ts\n#EXT-X-ENDLIST\n',
        "hls_map": f'{head}#EXT-X-MAP:URI="{url}"\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n',
        "hls_variant": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=64x64\n{url}\n",
        "dash_base": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        f'mediaPresentationDuration="PT1S"><Period><BaseURL>{url}</BaseURL><AdaptationSet mimeType="video/mp4">'
        '<Representation id="1" bandwidth="1" width="64" height="64" codecs="avc1.42c00a"/></AdaptationSet></Period>'
        "</MPD>",
    }


def _odd_servers(server: FaultServer, clip: bytes) -> Iterator[Case]:
    """Yield cases of servers that never end, lie about lengths, or answer with errors."""
    faults = {
        "endless.mp4": endless(),
        "endless_chunked.mp4": endless(chunked=True),
        "slow.mp4": slow(1, 0.3),
        "hang.mp4": hang,
        "slow_headers.mp4": slow_headers(0.2),
        "endless_redirect.mp4": redirect("/never", endless_body=True),
        "loop.mp4": redirect("/loop.mp4"),
        "cut.mp4": cut(0.5),
        "longer.mp4": wrong_length(1000),
        "gone.mp4": status(410),
        "denied.mp4": status(403),
        "teapot.mp4": status(418),
        "unavailable.mp4": status(503),
    }
    for name, fault in faults.items():
        yield Case(name, server.add(f"/{name}", clip if "endless" not in name else b"", always=fault), "refused")
    for number in range(12):
        server.add(f"/chain{number}.mp4", b"", always=redirect(f"/chain{number + 1}.mp4"))
    yield Case("a chain of 12 redirects", server.url("/chain0.mp4"), "refused")
    for name, kind in (("page", _HTML), ("video.mp4", "video/mp4"), ("list.m3u8", _HLS)):
        yield Case(
            f"endless {name}",
            server.add(f"/endless_{name}", b"<html>", always=endless(b"<p>x"), content_type=kind),
            "refused",
        )
        bomb = bytes(60 << 20) if "mp4" in name else b"<div>" * (12 << 20)
        yield Case(f"bomb {name}", server.add(f"/bomb_{name}", bomb, always=gzipped, content_type=kind), "refused")
        yield Case(
            f"slow {name}",
            server.add(f"/slow_{name}", b"<html>" * 500, always=slow(1, 0.3), content_type=kind),
            "refused",
        )
    yield Case("chunked", server.add("/chunked.mp4", told_apart(clip, 2), always=chunked), "stored")


def _odd_documents(page: Callable[..., Case]) -> Iterator[Case]:
    """Yield cases of documents that are too large, too deep or broken."""
    laughs = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    videos = json.dumps([{"@type": "VideoObject"}] * 40_000)
    documents: dict[str, tuple[str | bytes, str]] = {
        "deep": ("<div>" * 100_000, _HTML),
        "wide": ('<video src="javascript:x"></video>' * 20_000, _HTML),
        "attribute": (f'<video src="{"a" * 2_000_000}"></video>', _HTML),
        "attributes": (f"<video {' '.join(f'a{n}=1' for n in range(50_000))}></video>", _HTML),
        "comment": ("<!--" * 50_000, _HTML),
        "null": (b"<html>\0<video src='\0'></video>" * 1000, _HTML),
        "utf16": ("<html><video src='file:///etc/passwd'>".encode("utf-16"), "text/html; charset=utf-16"),
        "utf7": (b"+ADw-video src+AD0-file:///etc/passwd+AD4-", "text/html; charset=utf-7"),
        "charset": (b"<html><video>\xff\xfe</video>", "text/html; charset=nonsense"),
        "deep_json": (f'<script type="application/ld+json">{"[" * 50_000}</script>', _HTML),
        "big_json": (f'<script type="application/ld+json">{videos}</script>', _HTML),
        "regex": (f"<script>{'http' * 200_000}</script>", _HTML),
        "slashes": (f"<script>'https:{chr(92)}/' + {(chr(92) + '/') * 300_000}</script>", _HTML),
        "xml": (f'<?xml version="1.0"?><!DOCTYPE MPD [<!ENTITY e0 "ha">{laughs}]><MPD>&e9;</MPD>'.encode(), _DASH),
        "variants": (b"#EXTM3U\n" + b"#EXT-X-STREAM-INF:BANDWIDTH=1\nx.m3u8\n" * 50_000, _HLS),
        "segments": (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n" + b"#EXTINF:1,\nmissing.ts\n" * 50_000, _HLS),
        "live": (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nmissing.ts\n", _HLS),
        "itself": (b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ndocument_itself\n", _HLS),
        "frames": ('<iframe src="document_frames"></iframe>' * 50, _HTML),
        "empty": ("", _HTML),
    }
    for name, (body, kind) in documents.items():
        yield page(f"document_{name}", body, "refused", kind)


def _odd_embeds(server: FaultServer, page: Callable[..., Case], inside: Inside) -> Iterator[Case]:
    """Yield pages whose oEmbed answer is not what it should be."""
    target = inside.targets()["loopback"]
    answers = {
        "deep": b"[" * 100_000,
        "number": b'{"html": 7}',
        "list": b"[1, 2]",
        "nan": b'{"html": NaN}',
        "null": b"null",
        "cut": b'{"html": "<video src=',
        "bytes": bytes(range(256)),
        "huge": b'{"html": "' + b"<p>" * 2_000_000 + b'"}',
        "file": f'{{"html": "<video src={inside.secret}><video src=file://{inside.secret}>"}}'.encode(),
        "inward": f'{{"html": "<video src={target}><iframe src={target}>"}}'.encode(),
        "itself": b'{"html": "<link rel=alternate type=application/json+oembed href=/oembed_itself>"}',
    }
    for name, content in answers.items():
        server.add(f"/oembed_{name}", content, content_type="application/json")
        yield page(f"oembed_of_{name}", _PLACES["oembed"].format(f"/oembed_{name}"), "refused")
    server.add("/oembed_redirect", b"", always=redirect(target))
    yield page("oembed_of_redirect", _PLACES["oembed"].format("/oembed_redirect"), "refused")


def _rebound(server: FaultServer, page: Callable[..., Case], clip: bytes) -> Iterator[Case]:
    """Yield cases with a host name whose address changes with each look-up (see `rebinding`)."""
    base = f"http://{REBOUND}:{server.port}"
    server.add("/rebound.mp4", told_apart(clip, 60))
    yield Case("rebound", f"{base}/rebound.mp4", "any")
    for place in ("video", "og", "iframe", "script", "oembed"):
        yield page(f"rebound_{place}", _PLACES[place].format(f"{base}/rebound.mp4"), "any")
    for name, text in _streams(f"{base}/rebound.mp4").items():
        dash = name.startswith("dash")
        yield page(f"rebound_{name}.{'mpd' if dash else 'm3u8'}", text.encode(), "any", _DASH if dash else _HLS)


def _good(server: FaultServer, clip: bytes, folder: Path) -> Iterator[Case]:
    """Yield inputs among all these that must come through."""
    for number, (place, html) in enumerate(_PLACES.items()):
        if place in ("video", "source", "og", "og_secure", "twitter", "script"):
            url = server.add(f"/good_{place}.mp4", told_apart(clip, 10 + number))
            body = f"<html><title>{place}</title>{html.format(url)}".encode()
            yield Case(f"good {place}", server.add(f"/good_{place}", body, content_type=_HTML), "stored")
    relative = server.add("/good_relative", b"<html><video src='deep/../good_relative.mp4'>", content_type=_HTML)
    server.add("/good_relative.mp4", told_apart(clip, 30))
    yield Case("good relative", relative, "stored")
    yield Case("good direct", server.add("/good_direct.mp4", told_apart(clip, 31)), "stored")
    for number, tag in enumerate(("<video src=/{}>", "caf\xe9 <video src=/{}>", "<!-- x --><div><video src=/{}>")):
        server.add(f"/good_tag{number}.mp4", told_apart(clip, 40 + number))
        body = tag.format(f"good_tag{number}.mp4").encode("latin-1")
        yield Case(f"good tag {number}", server.add(f"/good_tag{number}", body, content_type="text/html"), "stored")
    server.add("/hls/v.ts", ffmpeg(folder / "v.ts", "-i", str(folder / "clip.mp4"), "-c", "copy").read_bytes())
    hls = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nv.ts\n#EXT-X-ENDLIST\n"
    yield Case("good hls", server.add("/hls/v.m3u8", hls, content_type=_HLS), "stored")
