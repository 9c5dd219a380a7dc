"""vidpipe prune and vidpipe alert, as a user calls them."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest

from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.operations.alerts.hook_server import SECRET, Answer, HookServer
from vidpipe_tests.operations.alerts.mail_server import Post, mail_server

KINDS = ["privacy", "partitions", "runs", "run files", "ticks", "mongod log", "server logs", "log files",
         "derived", "proxies", "clips", "downloads", "journals", "undo copies", "originals", "verdicts", "measures",
         "database files"]  # fmt: skip


def configured(vidpipe: Command, **alerts: str) -> Command:
    variables = {f"VIDPIPE_ALERTS_{name.upper()}": value for name, value in alerts.items()}
    return dataclasses.replace(vidpipe, env={**vidpipe.env, **variables})


@pytest.fixture
def old_log(vidpipe: Command) -> Path:
    path = vidpipe.home / "data" / "logs" / "daemon.log.1"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 2_000_000)
    long_ago = time.time() - 60 * 86400
    os.utime(path, (long_ago, long_ago))
    return path


def test_a_dry_run_says_what_would_go_and_prune_deletes_it(vidpipe: Command, old_log: Path) -> None:
    told = vidpipe.json("prune", "--dry-run")
    assert told["dry_run"] is True
    assert [kind["kind"] for kind in told["kinds"]] == KINDS
    (logs,) = [kind for kind in told["kinds"] if kind["kind"] == "log files"]
    assert (logs["count"], logs["size_bytes"], logs["error"]) == (1, 2_000_000, "")
    assert old_log.exists()
    shown = vidpipe("prune")
    assert shown.exit_code == 0, shown.output
    assert not old_log.exists()
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith("log files")]
    assert line.split()[2:5] == ["1", "2.0", "MB"]
    assert vidpipe.json("prune")["kinds"][KINDS.index("log files")]["count"] == 0


def test_what_goes_wrong_is_told_and_gives_an_exit_code(vidpipe: Command, old_log: Path) -> None:
    for number in range(25):
        (vidpipe.home / "data" / "derived" / f"{number:064x}" / "0" / "x").mkdir(parents=True)
    shown = vidpipe("prune")
    assert shown.exit_code == 1
    assert "25 of the 25 folders in data/derived belong to videos that are not in this library" in shown.output
    assert not old_log.exists(), "the other kinds are done"


def test_a_test_alert_goes_each_way_and_says_what_happened(vidpipe: Command) -> None:
    post = Post()
    mails = mail_server(post)
    mails.start()
    mail = {"smtphost": "127.0.0.1", "smtpport": str(mails.port), "smtpsecurity": "none", "mailto": "a@example.org"}
    try:
        with HookServer() as hook:
            good = configured(vidpipe, webhookurl=hook.url, **mail)("alert", "--test")
            assert good.exit_code == 0, good.output
            assert "webhook: test message accepted by the webhook at 127.0.0.1." in good.stdout
            assert f"mail: test message accepted by the mail server 127.0.0.1:{mails.port}." in good.stdout
            assert "this is a test" in hook.posts[0]["text"]
            assert "this is a test" in post.mails[0]["Subject"]
        with HookServer(always=Answer(404, body=b"no_service")) as hook:
            told = configured(vidpipe, webhookurl=hook.url, **mail).json("alert", "--test", code=1)
            sent = {way["way"]: way["sent"] for way in told["ways"]}
            assert sent == {"webhook": False, "mail": True}
            assert told["ways"][0]["message"] == "The webhook at 127.0.0.1 responded with 404 (no_service)."
            assert SECRET not in str(told)
    finally:
        mails.stop()


def test_without_a_way_it_says_what_to_set(vidpipe: Command) -> None:
    shown = vidpipe("alert", "--test")
    assert shown.exit_code == 1
    assert "Failed runs are only logged" in shown.output
    assert "VIDPIPE_ALERTS_WEBHOOKURL" in shown.output
    half = configured(vidpipe, mailto="a@example.org")("alert")
    assert "[Alerts] MailTo is set but SmtpHost is not: no mail is sent." in half.output


def test_what_waits_is_shown(vidpipe: Command) -> None:
    shown = configured(vidpipe, webhookurl=f"http://127.0.0.1:1/{SECRET}")("alert")
    assert shown.exit_code == 0, shown.output
    assert "webhook: to the webhook at 127.0.0.1; nothing sent yet; nothing pending." in shown.stdout
    assert SECRET not in shown.output
