"""The runs that the sensor url_list asks for: they fetch what the lists name, with what the lists alone know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vidpipe.pipeline.ingest import ingest_job
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.settings import Settings
from vidpipe_tests.clips import color_cuts
from vidpipe_tests.fault_server import FaultServer
from vidpipe_tests.pipeline.sensors.list_sensor import LIST, SECRET, ListSensor, ids, source
from vidpipe_tests.runner.small_graph import GRAPH
from vidpipe_tests.sources.s3_server import KEY_ID, S3Server
from vidpipe_tests.sources.s3_server import SECRET as S3_SECRET

pytestmark = pytest.mark.usefixtures("no_rest")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("clips")
    return [color_cuts(folder / f"{color}.mp4", (color,)).read_bytes() for color in ("red", "blue", "green")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    with FaultServer() as running:
        monkeypatch.setenv("VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE", f"127.0.0.1:{running.port}")
        monkeypatch.setenv("VIDPIPE_DOWNLOAD_MINFREEMB", "0")
        monkeypatch.setenv("VIDPIPE_DOWNLOAD_RETRIES", "0")
        yield running


def run(list_sensor: ListSensor, settings: Settings, request: Any) -> dg.ExecuteInProcessResult:
    """What a run that Dagster launches does, in this process."""
    return ingest_job(GRAPH).execute_in_process(
        run_config=request.run_config,
        tags=request.tags,
        instance=list_sensor.dagster,
        resources={"library": LibraryResource(home=str(settings.home))},
        raise_on_error=False,
    )


def states(list_sensor: ListSensor) -> dict[str, str]:
    return {record.url.rpartition("/")[2].partition("?")[0]: record.state for record in list_sensor.records().values()}


def videos(list_sensor: ListSensor) -> list[dict[str, Any]]:
    return list(list_sensor.library.collections["videos"].find())


def test_lines_become_videos_with_their_priority_and_secrets_come_from_the_list(
    list_sensor: ListSensor, settings: Settings, server: FaultServer, clips: list[bytes]
) -> None:
    server.add("/plain.mp4", clips[0])
    server.add("/secret.mp4", clips[1])
    bad = server.add("/bad.mp4", b"<html>not a video</html>")
    secret = server.url(f"/secret.mp4?token={SECRET}")
    local = color_cuts(settings.home / "data" / "local.mp4", ("green",))
    (request,) = list_sensor.say(
        server.url("/plain.mp4") + " priority=4", f"{secret} priority=4", f"{bad} priority=4", "local.mp4 priority=4"
    ).run_requests
    assert len(ids(request)) == 4
    result = run(list_sensor, settings, request)
    assert not result.success, "one of them is no video"
    assert states(list_sensor) == {
        "plain.mp4": "stored",
        "secret.mp4": "stored",
        "bad.mp4": "refused",
        "local.mp4": "stored",
    }
    assert [video["priority"] for video in videos(list_sensor)] == [4, 4, 4]
    assert set(list_sensor.dagster.get_dynamic_partitions("videos")) == {video["_id"] for video in videos(list_sensor)}
    assert any(SECRET in seen.path for seen in server.requests)
    told = [str(event) for event in list_sensor.dagster.all_logs(result.run_id)] + [str(result.dagster_run)]
    assert SECRET not in "".join([*told, repr([list(one.find()) for one in list_sensor.library.collections.values()])])
    assert local.exists()
    assert not list_sensor.tick().run_requests, "nothing is due any more, the refused one neither"


def test_a_run_without_ids_fetches_all_that_is_due(
    list_sensor: ListSensor, settings: Settings, server: FaultServer, clips: list[bytes]
) -> None:
    list_sensor.say(server.add("/one.mp4", clips[0]), server.add("/two.mp4", clips[1]))
    result = ingest_job(GRAPH).execute_in_process(
        instance=list_sensor.dagster, resources={"library": LibraryResource(home=str(settings.home))}
    )
    assert result.success
    assert states(list_sensor) == {"one.mp4": "stored", "two.mp4": "stored"}


def test_watched_files_are_taken_in_as_the_setting_says_and_those_taken_stay_as_they_are(
    list_sensor: ListSensor, settings: Settings, clips: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "footage"
    folder.mkdir()
    list_sensor.say(str(folder))
    found: dict[str, tuple[bool, bool]] = {}
    for mode, clip in zip(("reference", "hardlink", "copy"), clips, strict=True):
        monkeypatch.setenv("VIDPIPE_PATHS_WATCHEDFILES", mode)
        (folder / f"{mode}.mp4").write_bytes(clip)
        (request,) = list_sensor.tick().run_requests
        assert len(ids(request)) == 1, "what is there is not taken in again"
        assert run(list_sensor, settings, request).success
    for video in videos(list_sensor):
        facts = video["ingest"]
        stored, given = settings.resolve(facts["path"]), folder / facts["names"][0]
        found[given.stem] = (stored == given, stored.samefile(given))
        assert facts["referenced"] is (given.stem == "reference")
    assert found == {"reference": (True, True), "hardlink": (False, True), "copy": (False, False)}
    assert len(list(settings.media_directory.rglob("*.mp4"))) == 2


def test_a_line_that_is_gone_by_then_is_not_fetched_and_a_lost_secret_waits(
    list_sensor: ListSensor, settings: Settings, server: FaultServer, clips: list[bytes]
) -> None:
    gone, kept = server.add("/gone.mp4", clips[0]), server.add("/kept.mp4", clips[1])
    server.add("/secret.mp4", clips[2])
    (request,) = list_sensor.say(gone, kept, server.url(f"/secret.mp4?token={SECRET}")).run_requests
    list_sensor.say(kept, server.url(f"/secret.mp4?token={SECRET}"))
    list_sensor.list.unlink()
    assert not run(list_sensor, settings, request).success
    assert states(list_sensor) == {"gone.mp4": "new", "kept.mp4": "stored", "secret.mp4": "failed"}
    assert [seen.path for seen in server.requests] == ["/kept.mp4"]
    (waits,) = (record for record in list_sensor.records().values() if record.has_secret)
    assert waits.next_try_at is not None
    assert "no readable watched list has the full URL" in str(waits.last_error)
    assert not list_sensor.tick().run_requests


def test_a_source_that_kills_its_process_again_and_again_waits(list_sensor: ListSensor, settings: Settings) -> None:
    url = "http://127.0.0.1:9/deadly.mp4"
    (request,) = list_sensor.say(url).run_requests
    killed = list_sensor.records()[url].model_copy(update={"state": "fetching", "failures": 4})
    list_sensor.library.sources.save(killed)
    assert ids(list_sensor.tick().run_requests[0]) == [source(url)]
    run(list_sensor, settings, request)
    record = list_sensor.records()[url]
    assert (record.state, record.last_error_kind) == ("failed", "transient")
    assert "the process died 5 times" in str(record.last_error)
    assert not list_sensor.tick().run_requests


def test_what_a_setting_refused_is_taken_in_when_the_setting_has_changed(
    list_sensor: ListSensor,
    settings: Settings,
    server: FaultServer,
    clips: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allowed = os.environ["VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE"]
    monkeypatch.delenv("VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE")
    (request,) = list_sensor.say(server.add("/clip.mp4", clips[0])).run_requests
    run(list_sensor, settings, request)
    assert states(list_sensor) == {"clip.mp4": "refused"}
    assert not list_sensor.tick().run_requests
    monkeypatch.setenv("VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE", allowed)
    (request,) = list_sensor.tick().run_requests
    assert run(list_sensor, settings, request).success
    assert states(list_sensor) == {"clip.mp4": "stored"}


def test_the_hint_about_a_fragment_reaches_what_a_list_names(
    list_sensor: ListSensor, settings: Settings, server: FaultServer
) -> None:
    (request,) = list_sensor.say(server.url("/a#b.mp4")).run_requests
    run(list_sensor, settings, request)
    (record,) = list_sensor.records().values()
    assert "is not sent to servers" in str(record.last_error)


class TestS3:
    @pytest.fixture
    def s3(self, server: FaultServer, clips: list[bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        with S3Server() as running:
            running.put("watched", {"in/a.mp4": clips[0], "in/notes.txt": b"x", "out.mp4": clips[1]})
            for name, value in {
                "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": S3_SECRET, "AWS_ENDPOINT_URL_S3": running.url,
                "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
                "AWS_EC2_METADATA_DISABLED": "true",
                "VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE": f"127.0.0.1:{running.port}",
            }.items():  # fmt: skip
                monkeypatch.setenv(name, value)
            yield running

    def test_a_watched_folder_of_s3_brings_its_objects_and_takes_them_along(
        self, list_sensor: ListSensor, settings: Settings, s3: S3Server
    ) -> None:
        (request,) = list_sensor.say("s3://watched/in/ priority=3 labels=archive").run_requests
        assert s3.requests == [], "a tick asks nobody"
        assert run(list_sensor, settings, request).success
        folder, film = (
            list_sensor.records()["s3://watched/in/"],
            list_sensor.records()["s3://watched/in/a.mp4"],
        )
        assert (folder.state, folder.next_try_at is not None) == ("listed", True)
        assert (film.state, film.priority, film.labels, film.lists) == ("new", 3, ("archive",), (LIST,))
        assert film.folder == folder.id
        (request,) = list_sensor.tick().run_requests
        assert ids(request) == [film.id]
        assert run(list_sensor, settings, request).success
        assert list_sensor.records()[film.url].state == "stored"
        list_sensor.say("s3://watched/out.mp4")
        assert list_sensor.named() == {"s3://watched/out.mp4"}

    def test_an_object_that_a_line_names_itself_stays_when_the_folder_goes(
        self, list_sensor: ListSensor, settings: Settings, s3: S3Server
    ) -> None:
        (request,) = list_sensor.say("s3://watched/in/", "s3://watched/in/a.mp4 priority=1").run_requests[1:]
        run(list_sensor, settings, request)
        list_sensor.say("s3://watched/in/a.mp4 priority=1")
        assert list_sensor.named() == {"s3://watched/in/a.mp4"}
        assert list_sensor.records()["s3://watched/in/a.mp4"].priority == 1


def test_the_sensor_is_one_of_the_definitions(settings: Settings) -> None:
    from vidpipe.pipeline.build import build_definitions

    sensor = build_definitions(GRAPH, settings).get_sensor_def("url_list")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 5
