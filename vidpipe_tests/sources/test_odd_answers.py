"""Headers and bodies that are not what they should be: what makes sense is used, the rest does no harm."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vidpipe.network.http_response import (
    ContentRange,
    content_encoding,
    content_length,
    content_range,
    disposition_name,
    kept_value,
    location,
    unsatisfied_total,
)
from vidpipe.network.retry import http_date, parse_retry_after
from vidpipe.sources.urls import safe_file_name
from vidpipe_tests.fault_server import FaultServer, Handler, Served
from vidpipe_tests.sources.conftest import IngestHome, assert_stored

_CHARSETS = st.sampled_from([
    "utf-8", "iso-8859-1", "x-unknown", "", "hex", "idna", "undefined", "punycode", "utf-16", "a\0b", "é",
])  # fmt: skip
_NAMES = st.sampled_from(["filename", "filename*", "filename*0", "filename*0*", "filename*1*", "filename*x*", "name"])
_VALUES = st.text(st.sampled_from("ab.%4F\"'\\;=*\xff\0 \r\n"), max_size=12) | st.text(
    st.characters(max_codepoint=0xFF), max_size=12
)
_PARAMETERS = st.builds(
    lambda name, charset, value: f"{name}={charset}'en'{value}", _NAMES, _CHARSETS, _VALUES
) | st.builds(lambda name, value: f'{name}="{value}', _NAMES, _VALUES)
_ANY = st.text(st.characters(max_codepoint=0xFF), max_size=60)


@settings(max_examples=150, deadline=None)
@given(st.lists(_PARAMETERS, max_size=4).map(lambda given: "; ".join(["attachment", *given])) | _ANY)
@example("attachment; filename*=a\0b''x.mp4")
@example("attachment; filename*0*=utf-8''%e2; filename*x=1; filename*0*=''")
@example('attachment; filename="=?x-unknown?B?////?="')
@example('attachment; filename="=?utf-8?B?a?="')
def test_no_content_disposition_is_fatal(header: str) -> None:
    name = disposition_name(header, safe_file_name)
    assert "/" not in name
    assert name.isprintable()
    assert len(name) <= 200


@settings(max_examples=150, deadline=None)
@given(
    _ANY | st.text("0123456789-/,*bytes =:+GMTJan", max_size=30),
    st.sampled_from(["", "bytes ", "bytes=", "1e", "Mon, "]),
)
def test_no_other_header_is_fatal(text: str, before: str) -> None:
    value = before + text
    headers = {"Content-Range": value, "Content-Length": value, "Content-Encoding": value}
    found = content_range(headers)
    assert found is None or 0 <= found.first <= found.last < (found.total or found.last + 1)
    assert (unsatisfied_total(headers) or 0) >= 0
    assert (content_length(headers) or 0) >= 0
    assert (parse_retry_after(value) or 0.0) >= 0.0
    http_date(value)
    content_encoding(headers)
    location(value)
    kept = kept_value(value)
    assert kept is None or not {"\r", "\n", "\0"} & set(kept)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("attachment; filename=fancy name.mp4", "fancy name.mp4"),
        ("attachment; filename=\"x.mp4\"; filename*=UTF-8''%e2%82%ac%20rates.mp4", "€ rates.mp4"),
        ("attachment; filename*=x-unknown''%ff.mp4; filename=\"plain.mp4\"", "plain.mp4"),
        ("attachment; filename*=\"utf-8''\xff\0\"; filename=plain.mp4", "plain.mp4"),
        ("inline; filename*=ISO-8859-1'en'%A3.mp4", "£.mp4"),
        ("attachment; filename*=\"UTF-8''quoted%20star.mp4\"", "quoted star.mp4"),
        ("attachment; filename*0*=UTF-8''%e2%82%ac; filename*1=b.mp4", "€b.mp4"),
        ('attachment; filename="=?UTF-8?B?w6TDtsO8Lm1wNA==?="', "äöü.mp4"),
        ('attachment; filename="%E4%BD%A0%E5%A5%BD.mp4"', "你好.mp4"),
        ('attachment; filename="100%25.mp4"', "100%25.mp4"),
        ('attachment; filename="caf\xe9.mp4"', "café.mp4"),
        ('attachment; filename="\xf0\x9f\x8e\xac clip.mp4"', "🎬 clip.mp4"),
        ('attachment; filename="a;b.mp4"; size=3', "a;b.mp4"),
        ('attachment; filename="quote\\"d.mp4"', 'quote"d.mp4'),
        ('attachment; filename="../../up.mp4"', "up.mp4"),
        ("attachment; filename=\"%2e%2e%2f%C3%A9.mp4\"", "é.mp4"),
        ("filename=bare.mp4", "bare.mp4"),
        ('attachment; filename=""', ""),
        ("attachment", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_name_in_a_content_disposition(header: str, name: str) -> None:
    assert disposition_name(header, safe_file_name) == name


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("bytes 0-99/100", ContentRange(0, 99, 100)),
        ("BYTES=5-5/*", ContentRange(5, 5, None)),
        ("bytes 0-100/100", None),
        ("bytes 9-5/100", None),
        ("bytes 0-99", None),
        ("items 0-99/100", None),
    ],
)
def test_which_bytes_a_part_holds(header: str, meant: ContentRange | None) -> None:
    assert content_range({"Content-Range": header}) == meant


def test_a_length_is_one_number() -> None:
    lengths = {"5": 5, "5, 5": 5, "5,6": None, "-5": None, "+5": None, "9" * 30: None, "": None}
    assert {text: content_length({"Content-Length": text}) for text in lengths} == lengths
    assert content_length({"Content-Length": "5", "Transfer-Encoding": "chunked"}) is None


def test_a_redirect_keeps_the_bytes_that_were_sent() -> None:
    assert location("/\xc3\xa0 b.mp4") == "/à b.mp4"
    assert location("/caf\xe9.mp4") == "/caf%E9.mp4"


@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate", "br"])
def test_a_plain_file_that_is_announced_as_compressed_is_taken_as_it_is(
    room: IngestHome, server: FaultServer, clip: bytes, encoding: str
) -> None:
    def half(handler: Handler, served: Served) -> None:
        handler.head(200, served.standard_headers() | {"Content-Length": str(len(clip))})
        handler.write(clip[: len(clip) // 2])
        handler.hang_up()

    assert_stored(room, server.add("/clip.mp4", clip, headers={"Content-Encoding": encoding}, faults=[half]), clip)
    assert [seen.status for seen in server.requests] == [200, 206]


@pytest.mark.parametrize("encoding", ["raw deflate", "gzip, gzip", "utf-8, x-gzip"])
def test_a_compressed_body_is_undone_layer_by_layer(
    room: IngestHome, server: FaultServer, clip: bytes, encoding: str
) -> None:
    raw = zlib.compressobj(1, wbits=-15)
    sent = {
        "gzip": gzip.compress(clip, 1),
        "raw deflate": raw.compress(clip) + raw.flush(),
        "gzip, gzip": gzip.compress(gzip.compress(clip, 1), 1),
    }

    def packed(handler: Handler, served: Served) -> None:
        handler.send(200, sent.get(encoding, sent["gzip"]), {"Content-Encoding": encoding.removeprefix("raw ")})

    assert_stored(room, server.add("/clip.mp4", clip, always=packed), clip)
