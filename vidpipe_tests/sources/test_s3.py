"""s3:// addresses are sources like any other; the signed URLs behind them are never kept.

The server is moto's on loopback, in place of S3 (see s3_server.py).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe.errors import VidpipeError
from vidpipe.settings.operation import Download
from vidpipe.sources.download import refetch
from vidpipe.sources.fetchers.s3 import S3Address, S3Clients
from vidpipe.sources.records import IngestOutcome
from vidpipe_tests.fault_server import FaultServer
from vidpipe_tests.sources.conftest import IngestHome, sha256_of
from vidpipe_tests.sources.s3_server import KEY_ID, SECRET, S3Server
from vidpipe_tests.sources.test_credentials import everything_written

FILM = "s3://films/winter/a b ü+%20.mp4"


@pytest.fixture(scope="module")
def running(clip: bytes, other_clip: bytes) -> Iterator[S3Server]:
    """The storage with some films."""
    with S3Server() as server:
        server.put("films", {FILM.removeprefix("s3://films/"): clip, "b.mp4": other_clip, "notes.txt": b"x"})
        server.put("open", {"c.mp4": clip}, public=True)
        yield server


@pytest.fixture
def s3(running: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The storage, and the environment of a user who may read it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL_S3": running.url,
        "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    running.requests.clear()
    running.cut_at.clear()
    running.region_of.clear()
    return running


@pytest.fixture
def room(room: IngestHome, s3: S3Server) -> IngestHome:
    room.with_download(allowed_private=(f"127.0.0.1:{room.server.port}", f"127.0.0.1:{s3.port}"))
    return room


def add(room: IngestHome, *inputs: str | Path) -> list[IngestOutcome]:
    return room.add(*inputs, settings=room.settings)


def test_an_object_is_stored_under_the_address_the_user_gave(room: IngestHome, clip: bytes) -> None:
    outcome = room.add_one(FILM)
    assert (outcome.state, outcome.video, outcome.input) == ("stored", sha256_of(clip), FILM)
    assert outcome.source is not None
    assert (outcome.source.url, outcome.source.kind, outcome.source.has_secret) == (FILM, "s3", False)
    assert (outcome.source.final_url, outcome.source.file_name) == (None, "a b ü+%20.mp4")
    (stored,) = room.stored_files()
    assert stored.read_bytes() == clip
    assert room.add_one(FILM).state == "already stored"
    assert room.add_one(FILM, refresh=True).state == "unchanged"


def test_keys_and_signatures_are_kept_nowhere(
    room: IngestHome, s3: S3Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session-token")
    s3.cut_at = [50_000]
    told = [repr(room.add_one(FILM)), repr(room.add_one("s3://films/none.mp4"))]
    assert len(s3.signatures) == 3
    logged = [record.getMessage() for record in caplog.records if record.name != "werkzeug"]  # the server's own log
    written = "\n".join([*told, everything_written(room), *logged])
    for secret in (*s3.signatures, "a-session-token", SECRET, KEY_ID, "X-Amz-Signature"):
        assert secret not in written


def test_the_same_bytes_over_http_are_one_video_with_two_sources(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    first, second = add(room, FILM, server.add("/clip.mp4", clip))
    assert {first.video, second.video} == {sha256_of(clip)}
    assert {record.url for record in room.sources.records.values()} == {FILM, server.url("/clip.mp4")}
    assert len(room.stored_files()) == 1


def test_a_broken_transfer_is_gone_on_with(room: IngestHome, s3: S3Server, clip: bytes) -> None:
    s3.cut_at = [60_000]
    assert room.add_one(FILM).video == sha256_of(clip)
    assert [asked for *_, asked in s3.requests] == ["", "bytes=60000-"]
    assert len(set(s3.requests)) == 2


def test_a_bucket_of_another_region_is_asked_there(room: IngestHome, s3: S3Server, clip: bytes) -> None:
    s3.region_of["films"] = "eu-west-1"
    assert room.add_one(FILM).video == sha256_of(clip)
    assert ["us-east-1" in query for _, _, query, _ in s3.requests] == [True, False]


def test_a_folder_gives_its_videos_page_by_page(
    room: IngestHome, s3: S3Server, clip: bytes, other_clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")  # keys of one page
    videos = {"x/z/1.MP4": clip, "x/z/.hidden.mp4": clip, "x/z.webm": other_clip, "y.mp4": clip}
    s3.put("many", {**videos, **{f"x/{number}.txt": b"" for number in range(3)}})
    outcomes = add(room, "s3://many/x/")
    assert [outcome.input for outcome in outcomes] == ["s3://many/x/z.webm", "s3://many/x/z/1.MP4"]
    assert [outcome.video for outcome in outcomes] == [sha256_of(other_clip), sha256_of(clip)]
    assert sum("list-type=2" in query for _, _, query, _ in s3.requests) == 3
    assert [outcome.input for outcome in add(room, "s3://films")] == ["s3://films/b.mp4", FILM]
    (nothing,) = add(room, "s3://films/summer/")
    assert "s3://films/summer/: no video" in str(nothing.error)


def test_a_list_may_hold_objects_and_folders(room: IngestHome, clip: bytes, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text(f"url,title,labels\n{FILM},Winter,snow\ns3://films/,All,s3|film\n")
    winter, other = add(room, listed)
    assert winter.source is not None
    assert (winter.source.title, winter.source.labels) == ("Winter", ("snow",))
    assert other.source is not None
    assert (other.source.url, other.source.title, other.source.labels) == ("s3://films/b.mp4", None, ("s3", "film"))


def test_a_lost_file_comes_back_from_its_object(room: IngestHome, clip: bytes) -> None:
    room.add_one(FILM)
    room.stored_files()[0].unlink()
    file, given_by = refetch(room.settings, sha256_of(clip), [FILM])
    assert file.path.read_bytes() == clip
    assert given_by == FILM


def test_a_public_object_needs_no_credentials(room: IngestHome, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert room.add_one("s3://open/c.mp4").state == "stored"
    assert s3.requests[0][2] == ""
    private = room.add_one(FILM)
    assert private.state == "failed"
    assert f"{FILM}: it is not public, and no credentials were found (403). Set AWS_ACC" in str(private.error)


@pytest.mark.parametrize(
    ("environment", "address", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "AKIAOTHER"}, FILM, "does not accept the credentials (InvalidAccessKeyId). Check AWS_"),
        ({"AWS_SECRET_ACCESS_KEY": "other"}, FILM, "does not accept the credentials (SignatureDoesNotMatch). Check"),
        ({"AWS_PROFILE": "absent"}, FILM, "not usable: The config profile (absent) could not be found."),
        ({"AWS_ENDPOINT_URL_S3": "nonsense"}, FILM, "not usable: Invalid endpoint: nonsense. Check AWS_PROFILE"),
        ({}, "s3://films/winter", "s3://films/winter: there is no object with this key (NoSuchKey). Case"),
        ({}, "s3://film/a.mp4", "s3://film/a.mp4: there is no bucket named film (NoSuchBucket). Check its name"),
        ({}, "s3://film/", "s3://film/: there is no bucket named film (NoSuchBucket)."),
        (
            {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"},
            FILM,
            "127.0.0.1 is a loopback address; vidpipe does not connect to it. To",
        ),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "s3://films/", "s3://films/: 127.0.0.1 is a loopback"),
    ],
)
def test_what_is_wrong_is_said(
    room: IngestHome, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], address: str, said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (outcome,) = add(room, address)
    assert outcome.state in ("failed", "refused")
    assert said in str(outcome.error)
    assert SECRET not in str(outcome.error)


def test_mended_credentials_are_tried_again_by_themselves(room: IngestHome, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as wrong:
        wrong.setenv("AWS_SECRET_ACCESS_KEY", "other")
        outcome = room.add_one(FILM)
        assert outcome.transient
        assert outcome.source is not None
        assert outcome.source.attempts == 1  # no use in asking again at once
    assert room.add_one(FILM, retry=True).state == "stored"


def test_without_boto3_it_is_said_how_to_get_it(room: IngestHome, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("boto3", "boto3.session", "botocore", "botocore.config", "botocore.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    for outcome in add(room, FILM, "s3://films/"):
        assert "pip install 'vidpipe[s3]'" in str(outcome.error)


@pytest.mark.parametrize(
    "text",
    ["s3://", "s3:///key", "s3://a/b.mp4", "s3://b%20c/x", "s3://films//x", "s3://films/a/../b", "s3://films/a\nb"],
)
def test_addresses_that_cannot_be_asked_are_refused(text: str) -> None:
    with pytest.raises(VidpipeError, match=r"bucket's name|over HTTP"):
        S3Address.parse(text)


def test_credentials_in_an_address_are_refused_and_not_repeated(room: IngestHome) -> None:
    (outcome,) = add(room, f"s3://{KEY_ID}:{SECRET.replace('/', '')}@films/a.mp4")
    assert outcome.state == "refused"
    assert "credentials come from the environment" in str(outcome.error)
    assert SECRET.replace("/", "") not in repr(outcome)


@pytest.mark.parametrize(
    ("endpoint", "link"),
    [
        ("", "https://films.s3.amazonaws.com/a%20b.mp4?X-Amz-"),
        ("https://s3.oss-cn-hangzhou.aliyuncs.com", "https://films.s3.oss-cn-hangzhou.aliyuncs.com/a%20b.mp4?X-Amz-"),
        ("https://minio.example:9000", "https://minio.example:9000/films/a%20b.mp4?X-Amz-"),
    ],
)
def test_a_storage_is_asked_in_the_way_it_knows(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, endpoint: str, link: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    url, _ = S3Clients(Download()).link(S3Address("films", "a b.mp4"))
    assert url.startswith(link)


def test_a_question_mark_in_a_key_is_part_of_it(room: IngestHome, s3: S3Server, clip: bytes) -> None:
    s3.put("odd", {"what?.mp4": clip, "end?": clip, "#1": clip})
    outcomes = [room.add_one(f"s3://odd/{key}") for key in ("what?.mp4", "end?", "#1")]
    assert [outcome.video for outcome in outcomes] == [sha256_of(clip)] * 3
    assert [record.has_secret for record in room.sources.records.values()] == [False] * 3
