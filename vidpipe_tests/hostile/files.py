"""Hostile files: cut, damaged, disguised, linked, oddly named; playlists that name others; archives and bombs."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from vidpipe_tests.clips import ffmpeg, told_apart
from vidpipe_tests.hostile.cases import SECRET, Case, Expectation, Inside

_SOURCE = ("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=1", "-pix_fmt", "yuv420p")
_CONTAINERS = {
    "mp4": ("-c:v", "libx264"),
    "mkv": ("-c:v", "libx264"),
    "avi": ("-c:v", "mpeg4"),
    "ts": ("-c:v", "libx264"),
    "flv": ("-c:v", "flv1"),
    "webm": ("-c:v", "libvpx", "-deadline", "realtime"),
}
#: First bytes of containers and of other files, followed by noise.
_MAGIC = {
    "ftyp.mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
    "moov.mov": b"\0\0\x40\0moov",
    "ebml.mkv": b"\x1aE\xdf\xa3",
    "flv.flv": b"FLV\x01\x05\0\0\0\x09\0\0\0\0",
    "ogg.ogv": b"OggS\0\2" + bytes(8),
    "avi.avi": b"RIFF\xff\xff\xff\x7fAVI LIST",
    "asf.wmv": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "ps.mpg": b"\0\0\x01\xba\x44\0\x04\0\x04\x01",
    "mxf.mxf": b"\x06\x0e+4\x02\x05\x01\x01\r\x01\x02\x01\x01\x02",
    "rm.rm": b".RMF\0\0\0\x12\0\1",
    "ivf.ivf": b"DKIF\0\0\x20\0VP80\x40\0\x40\0",
    "gif.gif": b"GIF89a\x40\0\x40\0\xf7\0\0",
    "obu.obu": b"\x12\0\x0a\x0b",
    "dv.dv": bytes.fromhex("1f0700bf"),
    "sync.ts": (b"\x47" + bytes(187)) * 40,
    "h264.h264": b"\0\0\0\x01\x67\x64\0\x0a\xac",
}
_NOT_VIDEOS = {
    "empty.mp4": b"",
    "one.mp4": b"\0",
    "zeros.mp4": bytes(1 << 20),
    "text.mp4": b"This is a text.\n" * 500,
    "page.mp4": b"<!doctype html><html><body><video src=/etc/passwd>",
    "json.mp4": b'{"error": "\x1b[31mred\x1b[0m"}',
    "pdf.mp4": b"%PDF-1.4\n" + b"x" * 999,
    "png.mp4": b"\x89PNG\r\n\x1a\n" + bytes(500),
    "elf.mp4": b"\x7fELF" + bytes(500),
    "script.mp4": b"#!/bin/sh\ntouch /tmp/owned\n",
    "xml.mp4": b'<?xml version="1.0"?><x/>',
    "rtf.mp4": b"{\\rtf1 x}",
}
_NAMES = (
    "-y.mp4",
    "--output=x.mp4",
    "a\nb.mp4",
    "\x1b[31mred.mp4",
    "abc\u202egpj.mp4",
    "%s%n%00.mp4",
    "'; rm -rf ~; '.mp4",
    "=cmd|' C'!A0.mp4",
    "<script>alert(1)<script>.mp4",
    "🎬 a b.mp4",
    "[bold]x[bold].mp4",
    "a" * 240 + ".mp4",
    "file:x.mp4",
    "concat:a|b.mp4",
    "http:%2f%2fx.mp4",
)


def hostile_files(folder: Path, inside: Inside) -> Iterator[Case]:
    """Write the files below `folder` and yield a case for each."""
    folder.mkdir()
    rng = random.Random(7)
    clips = {
        suffix: ffmpeg(folder / f"base.{suffix}", *_SOURCE, *how).read_bytes() for suffix, how in _CONTAINERS.items()
    }
    clip = clips["mp4"]

    def case(name: str, content: bytes, expect: Expectation) -> Case:
        path = folder / name
        path.write_bytes(content)
        return Case(name, str(path), expect)

    for suffix, data in clips.items():
        for tenth in (1, 3, 5, 7, 9):
            yield case(f"cut{tenth}.{suffix}", data[: len(data) * tenth // 10], "any")
        for number in range(4):
            flipped = bytearray(data)
            for _ in range(40):
                flipped[rng.randrange(len(flipped))] = rng.randrange(256)
            yield case(f"flipped{number}.{suffix}", bytes(flipped), "any")
    for name, magic in _MAGIC.items():
        yield case(f"magic_{name}", magic + rng.randbytes(50_000), "any")
    for name, content in _NOT_VIDEOS.items():
        yield case(f"not_{name}", content, "refused")
    for name, text in _references(inside).items():
        yield case(f"reference_{name}", text.encode(), "refused")
    for number, name in enumerate(_NAMES):
        yield case(name, told_apart(clip, 100 + number), "stored")
    yield from (case(name, content, "refused") for name, content in _archives(clip).items())
    for width, height, rate in (
        ("100000", "100000", "25:1"),
        ("0", "0", "25:1"),
        ("-64", "64", "25:1"),
        ("99999999999999999999", "64", "25:1"),
        ("64", "64", "0:0"),
        ("64", "64", "1:1000000"),
        ("64", "64", "2147483647:1"),
        ("64", "64", "-25:1"),
    ):
        frames = b"".join(b"FRAME\n" + bytes([20 * n]) * 4096 + b"\x80" * 2048 for n in range(8))
        name = f"{width}x{height}_{rate.replace(':', '_')}.y4m"
        yield case(name, f"YUV4MPEG2 W{width} H{height} F{rate} C420jpeg\n".encode() + frames, "any")
    yield from _links(folder, inside, clip)
    yield case("good.mp4", told_apart(clip, 1), "stored")


def _references(inside: Inside) -> dict[str, str]:
    """Return name -> text of files that name others: playlists, lists of parts, subtitles, XML."""
    targets = inside.targets() | {
        "path": str(inside.secret),
        "concat": f"concat:{inside.secret}|{inside.secret}",
        "subfile": f"subfile,,start,0,end,100,,:{inside.secret}",
        "crypto": f"crypto:{inside.secret}",
        "tcp": f"tcp://127.0.0.1:{inside.port}",
        "async": f"async:file:{inside.secret}",
    }
    found = {}
    for name, target in targets.items():
        hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n"
        found |= {
            f"hls_{name}.mp4": hls,
            f"hls_{name}.m3u8": hls,
            f"ffconcat_{name}.mp4": f"ffconcat version 1.0\nfile '{target}'\nduration 5\n",
            f"dash_{name}.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'
            '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>'
            f"{target}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        }
    http = f"http://127.0.0.1:{inside.port}/x"
    return found | {
        "key.avi": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{http}"\n#EXTINF:1,\nx.ts\n',
        "pls.mp4": f"[playlist]\nFile1={http}\nNumberOfEntries=1\n",
        "asx.wmv": f'<asx version="3.0"><entry><ref href="{http}"/></entry></asx>',
        "asf.wmv": f"[Reference]\nRef1={http}?MSWMExt=.asf\n",
        "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "rtsp.mov": f"RTSPtext\nrtsp://127.0.0.1:{inside.port}/x\n",
        "xxe.mp4": f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file://{inside.secret}">]><MPD>&e;</MPD>',
        "svg.mp4": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{inside.secret}"/></svg>',
        "srt.mp4": f'1\n00:00:00,000 --> 00:00:01,000\n<img src="{http}">\n',
        "ass.mkv": f"[Script Info]\nVideo File: {inside.secret}\n[Events]\n",
        "edl.mp4": f"# mpv EDL v0\n{inside.secret},0,10\n",
        "avs.avs": f'DirectShowSource("{inside.secret}")\n',
    }


def _archives(clip: bytes) -> dict[str, bytes]:
    """Return name -> archive: with a clip, with paths that lead outside, and bombs."""
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("../../outside.mp4", clip)
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        for name, linked in (("../../outside.mp4", ""), ("link", "/etc/passwd")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = (tarfile.SYMTYPE, linked) if linked else (tarfile.REGTYPE, "")
            tar.addfile(entry)
    bomb = gzip.compress(bytes(50 << 20), 9)
    return {
        "outside.zip.mp4": zipped.getvalue(),
        "outside.tar.mp4": tarred.getvalue(),
        "clip.mp4.gz.mp4": gzip.compress(clip),
        "bomb.gz.mp4": bomb,
        "bomb.gz.gz.mp4": gzip.compress(bomb),
        "seven.7z.mp4": b"7z\xbc\xaf\x27\x1c" + bytes(500),
        "rar.mp4": b"Rar!\x1a\x07\x01\0" + bytes(500),
    }


def _links(folder: Path, inside: Inside, clip: bytes) -> Iterator[Case]:
    """Make links, a pipe and a device's name, and yield a case for each."""
    links = {
        "to_secret.mp4": str(inside.secret),
        "to_passwd.mp4": "/etc/passwd",
        "to_zero.mp4": "/dev/zero",
        "to_nothing.mp4": "/nonexistent/x",
        "to_itself.mp4": "to_itself.mp4",
        "to_memory.mp4": "/proc/self/mem",
    }
    for name, target in links.items():
        os.symlink(target, folder / name)
        yield Case(name, str(folder / name), "refused")
    os.mkfifo(folder / "pipe.mp4")
    yield Case("pipe.mp4", str(folder / "pipe.mp4"), "refused")
    below = folder / "below"
    below.mkdir()
    os.symlink(folder.parent, below / "up")
    (below / "inner.mp4").write_bytes(told_apart(clip, 50))
    yield Case("a folder with a link upwards", str(below), "stored")
    planted = folder / "planted"
    planted.mkdir()
    for name, target in links.items():
        os.symlink(target, planted / name)
    for name, target in (("itself", "."), ("processes", "/proc/self"), ("devices", "/dev"), ("private", "/etc")):
        os.symlink(target, planted / name)
    os.mkfifo(planted / "pipe.mp4")
    (planted / "inner.mp4").write_bytes(told_apart(clip, 51))
    yield Case("a folder with links everywhere", str(planted), "stored")
    listed = folder / "urls.txt"
    listed.write_text(f"{inside.targets()['metadata']}\n{inside.targets()['loopback']}\n{inside.secret}\n{SECRET}\n")
    yield Case("a list that leads inside", str(listed), "refused")
