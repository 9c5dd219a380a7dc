"""A server may give back all that it was shown: nothing of it that is secret is kept, shown or logged."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from vidpipe.network.fetch_errors import FetchError
from vidpipe.sources.download import refetch
from vidpipe_tests.fault_server import FaultServer, Handler, Served, cut, serve
from vidpipe_tests.sources.conftest import IngestHome, sha256_of

IN_PATH, ODD = "sekretPath", "sekret p@ss/wörd&x"
NAMES = {"VIDPIPE_SOURCE_PATH": IN_PATH, "VIDPIPE_SOURCE_ODD": ODD}


def echo(handler: Handler, served: Served) -> None:
    """Says the request in every header that is kept, and in the name of the file."""
    asked = handler.path
    served.etag = f'"{asked}"'
    served.content_type = f"video/mp4; of={asked}"
    served.headers["Content-Disposition"] = f'inline; filename="{unquote(asked)[-50:]}.mp4"'
    serve(handler, served)


def refuse(handler: Handler, served: Served) -> None:
    """Says the request and the login in the reason phrase, which is cut in the middle of the secret."""
    login = base64.b64decode((handler.headers["Authorization"] or "Basic ").split()[-1]).decode("latin-1")
    handler.send_response(401, f"{'x' * 55} {handler.path} {login} {handler.headers['Authorization']}")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def redirect_with_more_secrets(handler: Handler, served: Served) -> None:
    query = urlsplit(handler.path).query
    handler.send_response(302)
    handler.send_header("Location", f"/signed.mp4?X-Amz-Signature=sekretSignature&session=sekretSession&{query}")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.fixture(autouse=True)
def values(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "vidpipe")
    for name, value in NAMES.items():
        monkeypatch.setenv(name, value)


def said_of(room: IngestHome, caplog: pytest.LogCaptureFixture, *outcomes: object) -> str:
    kept = [record.model_dump_json() for record in room.sources.saved]
    kept += [video.model_dump_json() for videos in room.sources.videos.values() for video in videos]
    kept += [path.read_text(errors="replace") for path in (room.media / "incoming").glob("*.json")]
    return unquote("\n".join([*kept, *map(repr, outcomes), caplog.text])).lower()


def list_of(room: IngestHome, line: str) -> Path:
    listed = room.home / "data" / "urls.txt"
    listed.parent.mkdir(exist_ok=True)
    listed.write_text(line.replace("SERVER", f"127.0.0.1:{room.server.port}"))
    return listed


def test_what_a_server_gives_back_is_kept_without_secrets(
    room: IngestHome, server: FaultServer, clip: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    server.add(f"/{IN_PATH}/clip.mp4", clip, always=echo)
    server.add(f"/{IN_PATH}", clip, always=redirect_with_more_secrets)
    server.add("/signed.mp4", clip, always=echo)
    listed = list_of(
        room,
        "http://SERVER/${VIDPIPE_SOURCE_PATH}/clip.mp4?x=${VIDPIPE_SOURCE_ODD}\n"
        "http://SERVER/${VIDPIPE_SOURCE_PATH}?q=${VIDPIPE_SOURCE_ODD}\n",
    )
    direct, redirected = room.add(listed)
    assert {direct.state, redirected.state} == {"stored", "already stored"}
    assert direct.source is not None
    assert redirected.source is not None
    assert direct.source.url == f"http://127.0.0.1:{server.port}/***/clip.mp4?x=***"
    assert direct.source.content_type == "video/mp4; of=/***/clip.mp4?x=***"
    assert "sekret" not in said_of(room, caplog, direct, redirected)

    room.stored_files()[0].unlink()  # the list has the full URL
    with pytest.raises(FetchError) as caught:
        refetch(room.settings, sha256_of(clip), [direct.source.url])
    assert "sekret" not in str(caught.value)
    again = room.add(listed)  # whichever is first fetches the file; the other finds it
    assert "stored" in {outcome.state for outcome in again}
    assert again[0].source is not None
    assert again[0].source.url == direct.source.url


def test_a_reason_phrase_is_scrubbed_before_it_is_cut(
    room: IngestHome, server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.add(f"/{IN_PATH}", b"", always=refuse)
    (outcome,) = room.add(list_of(room, "http://me:${VIDPIPE_SOURCE_ODD}@SERVER/${VIDPIPE_SOURCE_PATH}"))
    assert server.requests[0].headers["authorization"].endswith(base64.b64encode(f"me:{ODD}".encode()).decode())
    assert outcome.state == "failed"
    assert "sekre" not in said_of(room, caplog, outcome)


def test_a_validator_with_a_secret_is_not_kept_and_the_download_begins_anew(
    room: IngestHome, server: FaultServer, clip: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    served_path = f"/{IN_PATH}/clip.mp4"
    server.add(served_path, clip, etag=f'"{IN_PATH}"', faults=[cut(0.5)])
    outcome = room.add_one(server.url(served_path))
    assert outcome.state == "stored"
    assert [seen.headers.get("range") for seen in server.seen(served_path)] == [None, None]
    assert "sekret" not in said_of(room, caplog, outcome)
