"""Mirrors in real PostgreSQL and MariaDB servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest

from vidpipe.datasets.mirror.sync import mirror
from vidpipe.errors import UnavailableError
from vidpipe.library.library import Library
from vidpipe.operations.retention.video_removal import forget
from vidpipe.settings import Settings
from vidpipe_tests.datasets.mirrors import contents, mirrored_to, nothing_written, query, rebuilt
from vidpipe_tests.datasets.sql_servers import IN_URL, PASSWORD, mariadb, postgresql
from vidpipe_tests.datasets.test_mirror import ODD, make_odd
from vidpipe_tests.library.sample_library import GRAPH, HOSTILE, fill, put, sha256_of
from vidpipe_tests.search.indexed import HARBOUR, RACE, label

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module", params=[postgresql, mariadb])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    with request.param() as url:
        yield url


@pytest.fixture
def url(server: str) -> str:
    """For SQLAlchemy, with the driver."""
    url = server.replace("postgresql:", "postgresql+psycopg:").replace("mysql:", "mysql+pymysql:")
    return f"{url}?charset=utf8mb4" if "mysql" in url else url


@pytest.fixture
def library(settings: Settings, server: str) -> Iterator[Library]:
    with Library.open(mirrored_to(settings, server), GRAPH) as library:
        fill(library)
        yield library


def test_a_mirror_is_written_followed_and_written_again(library: Library, url: str) -> None:
    mirror(library, rebuild=True)
    assert nothing_written(mirror(library))
    names = "SELECT name, duration_s, category FROM videos ORDER BY duration_s"
    assert query(url, names) == [
        (HOSTILE, 5.0, "Unclassified"), ("race.mkv", 45.5, "Sports"), ("harbour.mp4", 600.0, "Documentary"),
    ]  # fmt: skip
    stored = library.collections["videos"].find_one({"_id": RACE}) or {}
    ((added_at,),) = query(url, "SELECT added_at FROM videos WHERE video = :video", video=RACE)
    assert (added_at if added_at.tzinfo else added_at.replace(tzinfo=UTC)) == stored["added_at"]

    make_odd(library)
    label(library, sha256_of(HOSTILE), "later")
    forgotten = put(library, "harbour.mp4")
    report = mirror(library)
    assert [one["id"] for one in report.failed] == [HARBOUR]
    found = query(url, "SELECT label FROM labels WHERE video = :video ORDER BY position", video=RACE)
    assert [one for (one,) in found] == [one.replace("\0", "\\x00") for one in ODD["ingest.labels"]]
    assert query(url, "SELECT count(DISTINCT label) FROM labels WHERE label IN ('é', 'É')") == [(2,)]
    assert query(url, "SELECT frame_rate, loudness_db, category FROM videos WHERE video = :video", video=RACE) == [
        (None, None, ODD["category.category"])
    ]
    ((text,),) = query(url, "SELECT description FROM videos WHERE video = :video", video=RACE)
    assert text == ODD["description.text"].replace("\0", "\\x00")

    forget(library, [forgotten], lambda _: None)
    mirror(library)
    assert query(url, "SELECT count(*) FROM scenes WHERE video = :video", video=forgotten) == [(0,)]
    assert contents(url) == rebuilt(library, url)


def test_json_can_be_asked_in_sql(library: Library, url: str) -> None:
    mirror(library, rebuild=True)
    colors = "colors ->> 0" if "postgresql" in url else "JSON_VALUE(colors, '$[0]')"
    assert query(url, f"SELECT {colors} FROM scenes WHERE video = :video", video=RACE) == [("blue",)]  # noqa: S608


def test_a_second_process_is_refused_and_the_lock_of_a_killed_one_is_free(
    library: Library, url: str, server: str
) -> None:
    mirror(library, rebuild=True)
    label(library, RACE, "Monza")
    holder = """
import os, sys, time
from types import SimpleNamespace as Made
from sqlalchemy import make_url
from vidpipe.datasets.mirror import sync
url = make_url(os.environ["ADDRESS"])
with sync._locked(url.set(drivername=sync._DATABASES[url.drivername][0]), "x"):
    print("held", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", holder], env={**os.environ, "ADDRESS": server}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UnavailableError, match="Another process is writing the mirror"):
        mirror(library)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(100):
        try:
            report = mirror(library)
        except UnavailableError:  # the server has not noticed yet
            continue
        break
    assert report.written["videos"] == 1

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mirror(library, rebuild=True, progress=killed, batch=1)
    assert query(url, "SELECT count(*) FROM videos") == [(1,)]
    mirror(library)
    assert contents(url) == rebuilt(library, url)


@pytest.mark.parametrize(
    ("written", "instead", "said"), [(IN_URL, "hunter2%40x", "me"), ("127.0.0.1:", "127.0.0.1:1", "refused")]
)
def test_a_wrong_password_or_port_is_explained_without_the_password(
    settings: Settings, server: str, written: str, instead: str, said: str
) -> None:
    wrong = server.replace(written, instead) if "hunter" in instead else server.rpartition(":")[0] + ":1/x"
    with (
        Library.open(mirrored_to(settings, wrong), GRAPH) as library,
        pytest.raises(UnavailableError) as caught,
    ):
        mirror(library)
    assert said in caught.value.message
    assert "host" in caught.value.hint
    assert not [secret for secret in ("hunter2", PASSWORD, IN_URL) if secret in str(caught.value)]
