"""From failed runs to messages: the sensors' work on a real history, a real library, a real webhook and mail server."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from pydantic import SecretStr
from pymongo import MongoClient

from vidpipe.errors import UnavailableError
from vidpipe.library.library import Library
from vidpipe.operations.alerts.delivery import end_outage, queue_high_rates, report_outage, send_alerts
from vidpipe.operations.alerts.message import FailedRun, HighFailureRate
from vidpipe.pipeline.partitions import add_videos
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.sensors.alerts import (
    alert_queue,
    failed_runs,
    failure_rate_sensor,
    queue_failed_runs,
    run_failures_sensor,
)
from vidpipe.settings import Settings, configure_logging
from vidpipe.settings.operation import Alerts
from vidpipe_tests.operations.alerts.hook_server import SECRET, Answer, HookServer
from vidpipe_tests.operations.alerts.mail_server import Post, mail_server
from vidpipe_tests.pipeline.test_jobs import run_job
from vidpipe_tests.runner.small_graph import GRAPH

Add = Callable[..., list[str]]
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with HookServer() as server:
        yield server


def alerting(settings: Settings, hook: HookServer, **changed: Any) -> Settings:
    values: dict[str, Any] = {"webhook_url": SecretStr(hook.url), "quiet_minutes": 30.0}
    return settings.model_copy(update={"alerts": Alerts(**(values | changed))})


def fail(
    dagster: dg.DagsterInstance,
    sentence: str = "1 of 9 videos failed.\na.mp4, scenes: bad. Mend it.",
    job: str = "describe",
) -> str:
    """A run that failed, as the jobs of vidpipe do."""

    @dg.op
    def work() -> None:
        raise dg.Failure(sentence, allow_retries=False)

    @dg.job(name=job)
    def failing() -> None:
        work()

    return failing.execute_in_process(instance=dagster, raise_on_error=False).run_id


def texts(hook: HookServer) -> list[str]:
    return [str(post["text"]) for post in hook.posts]


def test_a_failed_run_is_told_once_with_its_sentences(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, hook: HookServer
) -> None:
    fail(dagster, "long ago: no news")
    today = alerting(settings, hook)
    configure_logging(today)
    assert queue_failed_runs(dagster, library, today) == 0
    run_id = fail(dagster)
    assert queue_failed_runs(dagster, library, today) == 1
    send_alerts(alert_queue(dagster, library), today, NOON)
    assert queue_failed_runs(dagster, library, today) == 0
    send_alerts(alert_queue(dagster, library), today, NOON + timedelta(days=1))
    (text,) = texts(hook)
    assert "1 run failed (describe 1)" in text
    assert "a.mp4, scenes: bad. Mend it." in text
    assert run_id in text
    assert "long ago" not in text
    log = (settings.data_directory / "logs" / "vidpipe.log").read_text()
    assert f"run {run_id} of job describe failed: 1 of 9 videos failed." in log
    assert SECRET not in log


def test_the_log_hears_where_nobody_else_does(
    settings: Settings, library: Library, dagster: dg.DagsterInstance
) -> None:
    configure_logging(settings)
    queue_failed_runs(dagster, library, settings)
    fail(dagster)
    assert queue_failed_runs(dagster, library, settings) == 1
    assert send_alerts(alert_queue(dagster, library), settings, NOON) == []
    assert "1 of 9 videos failed." in (settings.data_directory / "logs" / "audit.jsonl").read_text()


def test_in_the_quiet_time_all_are_gathered_for_one_message(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, hook: HookServer
) -> None:
    today = alerting(settings, hook)
    queue_failed_runs(dagster, library, today)
    fail(dagster)
    queue_failed_runs(dagster, library, today)
    send_alerts(alert_queue(dagster, library), today, NOON)
    for minute in (1, 5, 20):
        fail(dagster, f"after {minute} minutes", job="ingest" if minute == 5 else "describe")
        queue_failed_runs(dagster, library, today)
        (said,) = send_alerts(alert_queue(dagster, library), today, NOON + timedelta(minutes=minute))
        assert "(quiet time)" in said
    assert len(hook.posts) == 1
    send_alerts(alert_queue(dagster, library), today, NOON + timedelta(minutes=31))
    assert "3 runs failed (describe 2, ingest 1)" in texts(hook)[1]
    for minute in (1, 5, 20):
        assert f"after {minute} minutes" in texts(hook)[1]


def test_quiet_time_and_what_waits_survive_a_restart(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, hook: HookServer
) -> None:
    today = alerting(settings, hook)
    queue_failed_runs(dagster, library, today)
    fail(dagster, "first")
    queue_failed_runs(dagster, library, today)
    send_alerts(alert_queue(dagster, library), today, NOON)
    fail(dagster, "second")
    queue_failed_runs(dagster, library, today)
    with Library.open(settings, GRAPH) as another:
        send_alerts(alert_queue(dagster, another), today, NOON + timedelta(minutes=10))
        assert len(hook.posts) == 1
        send_alerts(alert_queue(dagster, another), today, NOON + timedelta(minutes=40))
    assert "second" in texts(hook)[1]
    assert "first" not in texts(hook)[1]


def test_a_dead_webhook_loses_nothing_and_never_stops_the_mail(
    settings: Settings, library: Library, dagster: dg.DagsterInstance
) -> None:
    post = Post()
    mails = mail_server(post)
    mails.start()
    try:
        with HookServer(always=Answer(404, body=b"no_service")) as hook:
            today = alerting(
                settings, hook, quiet_minutes=0.0, mail_to=("a@example.org",), smtp_host="127.0.0.1",
                smtp_port=mails.port, smtp_security="none",
            )  # fmt: skip
            queue_failed_runs(dagster, library, today)
            for number in range(3):
                fail(dagster, f"reason {number}")
                queue_failed_runs(dagster, library, today)
                send_alerts(alert_queue(dagster, library), today, NOON + timedelta(seconds=number))
            assert [mail["Subject"].rpartition(": ")[2] for mail in post.mails] == ["1 run failed (describe 1)"] * 3
            assert len(hook.posts) == 1, "it is left alone for a while"
            assert "404" in alert_queue(dagster, library).waiting("webhook").last_error
            hook.always = Answer()
            send_alerts(alert_queue(dagster, library), today, NOON + timedelta(minutes=2))
            assert "3 runs failed" in texts(hook)[1]
            assert all(f"reason {number}" in texts(hook)[1] for number in range(3))
            assert not alert_queue(dagster, library).waiting("webhook")
            assert len(post.mails) == 3
    finally:
        mails.stop()


def test_waits_between_tries_double_up_to_an_hour(library: Library, dagster: dg.DagsterInstance) -> None:
    state = alert_queue(dagster, library)
    state.last_event_id(0)
    waits = [state.schedule_retry("webhook", "dead", NOON, None) - NOON for _ in range(9)]
    assert [wait.total_seconds() / 60 for wait in waits] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert state.schedule_retry("mail", "later", NOON, 600) - NOON == timedelta(minutes=10)


def test_of_thousands_of_failures_the_first_are_kept_and_all_are_counted(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, hook: HookServer
) -> None:
    state = alert_queue(dagster, library)
    state.last_event_id(0)
    for batch in range(20):
        runs = [FailedRun(id=f"{batch}-{number}", job="label", at=NOON) for number in range(100)]
        assert state.add_runs(runs, ["webhook"], after=batch, until=batch + 1)
        assert not state.add_runs(runs, ["webhook"], after=batch, until=batch + 1), "another process read them"
    assert len(state.waiting("webhook").runs) == 50
    send_alerts(alert_queue(dagster, library), alerting(settings, hook), NOON)
    assert "2000 runs failed (label 2000)" in texts(hook)[0]
    assert not state.waiting("webhook")


def test_cancelled_runs_and_those_that_are_tried_again_are_no_failures(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, hook: HookServer
) -> None:
    today = alerting(settings, hook)
    queue_failed_runs(dagster, library, today)
    run = dagster.create_run_for_job(_idle_job(), status=dg.DagsterRunStatus.STARTED)
    dagster.report_run_canceled(run)
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("vidpipe"), "__repository__")
    launched = dagster.create_run_for_job(
        _idle_job(),
        status=dg.DagsterRunStatus.STARTED,
        remote_job_origin=RemoteJobOrigin(location, "idle"),
    )
    dagster.report_run_failed(launched, "Its process has died.")
    assert queue_failed_runs(dagster, library, today) == 0, "Dagster's daemon tries it again"
    dead = dagster.create_run_for_job(_idle_job(), status=dg.DagsterRunStatus.STARTED)
    dagster.report_run_failed(dead, "The process of this run (box|1|2) has died.")
    assert queue_failed_runs(dagster, library, today) == 1
    send_alerts(alert_queue(dagster, library), today, NOON)
    assert "The process of this run (box|1|2) has died." in texts(hook)[0]


def _idle_job() -> dg.JobDefinition:
    @dg.job
    def idle() -> None: ...

    return idle


def test_what_a_real_run_says_of_a_broken_video_reaches_the_message(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance, hook: HookServer
) -> None:
    today = alerting(settings, hook)
    queue_failed_runs(dagster, library, today)
    ids = add("good", "evil")
    add_videos(dagster, ids)
    (settings.home / "broken-evil").touch()
    assert not run_job(dagster, settings, "prepare", ids).success
    queue_failed_runs(dagster, library, today)
    send_alerts(alert_queue(dagster, library), today, NOON)
    assert "1 of 2 videos failed; the others are done." in texts(hook)[0]
    assert f"video {ids[1][:12]} cannot be measured. Mend it." in texts(hook)[0], "Dagster holds no names"
    assert hook.posts[0]["vidpipe"]["runs"][0]["job"] == "prepare"


def high_rates(dagster: dg.DagsterInstance, library: Library, settings: Settings) -> list[HighFailureRate]:
    return queue_high_rates(alert_queue(dagster, library), settings.alerts, library.collections["runs"])


def ran(library: Library, minutes_ago: float, **figures: Any) -> None:
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    document = {"_id": f"run {minutes_ago} {figures}", "job": "prepare", "began_at": at - timedelta(minutes=1),
                "ended_at": at, "status": "failure", **figures}  # fmt: skip
    library.collections["runs"].insert_one(document)


def test_too_many_failures_are_told_once_until_more_fail(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, hook: HookServer
) -> None:
    today = alerting(settings, hook, quiet_minutes=0.0)
    ran(library, 90, stages={"scenes": {"computed": 0, "failed": 50}})
    ran(library, 30, stages={"scenes": {"computed": 6, "failed": 2}, "tags": {"computed": 90, "failed": 1}})
    assert high_rates(dagster, library, today) == [], "eight tries say nothing yet"
    sources = {"stored": 5, "failed": 2, "refused": 4, "gone": 1}
    ran(library, 20, stages={"scenes": {"computed": 4, "failed": 2}}, sources=sources)
    assert sorted(rate.what for rate in high_rates(dagster, library, today)) == ["scenes", "sources"]
    send_alerts(alert_queue(dagster, library), today, NOON)
    assert "4 of 14 videos in stage scenes failed within 60 minutes" in texts(hook)[0]
    assert "7 of 12 sources failed" in texts(hook)[0]
    assert high_rates(dagster, library, today) == [], "nothing has failed since"
    ran(library, 10, stages={"scenes": {"computed": 1, "failed": 1}})
    assert [rate.failed for rate in high_rates(dagster, library, today)] == [5]
    ran(library, 5, stages={"scenes": {"computed": 0, "failed": 1}})
    high_rates(dagster, library, today)
    send_alerts(alert_queue(dagster, library), today, NOON + timedelta(minutes=1))
    assert texts(hook)[1].count("stage scenes") == 1
    assert "6 of 17" in texts(hook)[1]


def test_the_sensors_tell_what_they_did(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, hook: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPIPE_ALERTS_WEBHOOKURL", hook.url)
    resource = LibraryResource(home=str(settings.home))

    def tick(sensor: dg.SensorDefinition) -> str:
        context = dg.build_sensor_context(instance=dagster, resources={"library": resource})
        skipped = sensor(context)
        assert isinstance(skipped, dg.SkipReason)
        return skipped.skip_message or ""

    failures, rates = run_failures_sensor(GRAPH), failure_rate_sensor(GRAPH)
    assert tick(failures) == "Runs that failed since the last check: 0."
    fail(dagster)
    assert tick(failures) == "Runs that failed since the last check: 1. Sent by webhook."
    assert tick(rates) == "No failure rate is too high."
    monkeypatch.setenv("VIDPIPE_MONGODB_URI", "mongodb://127.0.0.1:1/")
    monkeypatch.setenv("VIDPIPE_MONGODB_TIMEOUT", "0.2")
    assert "127.0.0.1:1" in tick(failures)


def test_nothing_secret_is_kept_in_mongodb(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, mongod_uri: str
) -> None:
    with HookServer(always=Answer(403, body=SECRET.encode())) as hook:
        today = alerting(settings, hook)
        queue_failed_runs(dagster, library, today)
        fail(dagster, f"a.mp4: http://me:hunter2@host/?token={SECRET} could not be had")
        queue_failed_runs(dagster, library, today)
        send_alerts(alert_queue(dagster, library), today, NOON)
    with MongoClient[dict[str, Any]](mongod_uri) as client:
        kept = str(list(client[settings.mongodb.database_name][library.collections["meta"].name].find()))
    assert "could not be had" in kept
    assert SECRET not in kept
    assert "hunter2" not in kept


def test_an_outage_of_the_library_is_told_too_after_a_while_and_with_its_quiet_time(
    settings: Settings, hook: HookServer
) -> None:
    today = alerting(settings, hook)
    error = UnavailableError("MongoDB at db:27017 cannot be reached.", "Look whether it runs.")
    report_outage(today, error, NOON)
    assert hook.posts == [], "it may just be starting"
    for minute in (3, 10, 20):
        report_outage(today, error, NOON + timedelta(minutes=minute))
    (text,) = texts(hook)
    assert "MongoDB at db:27017 cannot be reached. Look whether it runs." in text
    report_outage(today, error, NOON + timedelta(minutes=40))
    assert len(hook.posts) == 2
    end_outage(today)
    report_outage(today, error, NOON + timedelta(minutes=90))
    assert len(hook.posts) == 2


def test_a_run_has_an_address_where_the_page_runs(settings: Settings, dagster: dg.DagsterInstance) -> None:
    run_id = fail(dagster)
    assert failed_runs(dagster, settings, 0)[0][0].address == ""
    marks = {"_VIDPIPE_SERVICE": "web", "_VIDPIPE_PORT": "3001", "VIDPIPE_HOME": str(settings.home)}
    # A server is recognized by its command line, too.
    page = [sys.executable, "-c", "print(flush=True); input()", "dagster_webserver"]
    sleeper = subprocess.Popen(page, env=os.environ | marks, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert sleeper.stdout is not None
        sleeper.stdout.readline()
        assert failed_runs(dagster, settings, 0)[0][0].address == f"http://127.0.0.1:3001/runs/{run_id}"
    finally:
        sleeper.communicate(b"\n")
