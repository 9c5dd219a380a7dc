"""A watched folder on a server: what changes there is noticed by listing it again, and nothing is fetched in vain."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vidpipe.settings import Settings
from vidpipe_tests.pipeline.sensors.list_sensor import ListSensor
from vidpipe_tests.pipeline.sensors.test_listed_ingest import clips, run
from vidpipe_tests.sources.remote_servers import PASSWORD, RunningServer, ftp_server, sftp_server, webdav_server

pytestmark = [pytest.mark.soak, pytest.mark.usefixtures("no_rest")]
__all__ = ["clips"]


@pytest.fixture(
    params=["ftp", pytest.param("sftp", marks=pytest.mark.soak), pytest.param("webdav", marks=pytest.mark.soak)]
)
def remote(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clips: list[bytes]
) -> Iterator[RunningServer]:
    served = tmp_path / "served"
    (served / "deep").mkdir(parents=True)
    for name, content in {"a b.mp4": clips[0], "deep/b.mp4": clips[1], "notes.txt": b"x"}.items():
        put(served / name, content, 1_700_000_000)
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VIDPIPE_SOURCE_FILMS", PASSWORD)
    monkeypatch.setenv("VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE", "localhost")
    monkeypatch.setenv("VIDPIPE_DOWNLOAD_MINFREEMB", "0")
    if request.param == "sftp":
        with sftp_server(served) as (running, line):
            (tmp_path / ".ssh" / "known_hosts").write_text(line)
            yield running
    else:
        with ftp_server(served) if request.param == "ftp" else webdav_server(served) as running:
            yield running


def put(path: Path, content: bytes, modified: int) -> None:
    path.write_bytes(content)
    os.utime(path, (modified, modified))


class Watching:
    """The sensor and its runs, until nothing is due; the folder is listed each time."""

    def __init__(self, sensor: ListSensor, settings: Settings, remote: RunningServer) -> None:
        self._sensor, self._settings, self._remote = sensor, settings, remote

    def states(self) -> dict[str, str]:
        below = self._sensor.records().values()
        return {one.url.rpartition("/")[2]: one.state for one in below if one.lists and one.folder}

    def settle(self) -> list[str]:
        """Return the names of the files that were fetched."""
        self._sensor.library.collections["sources"].update_many(
            {"state": "listed"}, {"$set": {"next_try_at": datetime(2020, 1, 1, tzinfo=UTC)}}
        )
        before = {one.id: one.attempts for one in self._sensor.records().values()}
        for _ in range(3):
            for request in self._sensor.tick().run_requests:
                run(self._sensor, self._settings, request)
        return sorted(
            one.url.rpartition("/")[2]
            for one in self._sensor.records().values()
            if one.attempts > before.get(one.id, 0)
        )


def test_new_changed_and_removed_files(
    list_sensor: ListSensor, settings: Settings, remote: RunningServer, clips: list[bytes]
) -> None:
    url = remote.url(user="film:${VIDPIPE_SOURCE_FILMS}@")
    (request,) = list_sensor.say(f"{url} labels=archive").run_requests
    assert run(list_sensor, settings, request).success
    watching = Watching(list_sensor, settings, remote)
    assert watching.states() == {"a%20b.mp4": "new", "b.mp4": "new"}
    assert watching.settle() == ["a%20b.mp4", "b.mp4"]
    assert watching.states() == {"a%20b.mp4": "stored", "b.mp4": "stored"}
    assert watching.settle() == [], "nothing has changed"

    put(remote.folder / "deep" / "b.mp4", clips[2], 1_700_000_100)
    put(remote.folder / "half.mp4", b"\0" * 500, 1_700_000_200)  # is being uploaded
    assert watching.settle() == ["b.mp4", "half.mp4"]
    assert watching.states() == {"a%20b.mp4": "stored", "b.mp4": "stored", "half.mp4": "refused"}
    assert watching.settle() == [], "what was refused is not asked for again"

    put(remote.folder / "half.mp4", clips[0], 1_700_000_300)
    (remote.folder / "a b.mp4").unlink()
    assert watching.settle() == ["half.mp4"]
    assert watching.states() == {"b.mp4": "stored", "half.mp4": "stored"}
    assert watching.settle() == []
    assert list_sensor.library.collections["videos"].count_documents({}) == 3, "the video of a removed file stays"
    written = repr([list(one.find()) for one in list_sensor.library.collections.values()])
    assert PASSWORD not in written


def test_a_server_that_denies_is_a_failed_folder_and_removes_nothing(
    list_sensor: ListSensor, settings: Settings, remote: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (request,) = list_sensor.say(remote.url(user="film:${VIDPIPE_SOURCE_FILMS}@")).run_requests
    assert run(list_sensor, settings, request).success
    watching = Watching(list_sensor, settings, remote)
    watching.settle()
    stored = watching.states()
    (remote.folder / "a b.mp4").unlink()
    monkeypatch.setenv("VIDPIPE_SOURCE_FILMS", "no-longer-valid")
    watching.settle()
    assert watching.states() == stored
