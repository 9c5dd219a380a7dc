"""The log and audit files: no secrets, no lost lines, no forged lines."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings, audit, configure_logging, load, notice, notices_shown
from vidpipe.settings.logs import reset_logging

SECRETS = {"VIDPIPE_QWENVL_ACCESSKEY": "sk-hunter2", "VIDPIPE_MONGODB_URI": "mongodb://ann:p%40ss@db.lan/"}


@pytest.fixture
def settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("VIDPIPE_SOURCE_ARCHIVE", "open sesame")
    settings = load(home, SECRETS).settings
    configure_logging(settings)
    yield settings
    reset_logging()


def log_text(settings: Settings) -> str:
    return settings.resolve(settings.logging.log_file).read_text(encoding="utf-8")


def events(settings: Settings) -> list[dict[str, object]]:
    folder = settings.resolve(settings.logging.log_file).parent
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text(encoding="utf-8").splitlines()]


def test_secrets_reach_neither_file_in_no_spelling(settings: Settings) -> None:
    log = logging.getLogger("vidpipe.sources")
    log.info("asking with %s at %s", "sk-hunter2", "mongodb://ann:p%40ss@db.lan/")
    log.info("decoded it is p@ss; a stranger's is https://eve:word@h/?token=abc123&x=1")
    try:
        raise RuntimeError("refused sk-hunter2")
    except RuntimeError:
        log.exception("the model said no")
    log.info("https://archive.example/open%20sesame/x.mp4 is asked with open sesame")
    audit("asked", key="sk-hunter2", nested={"uri": ["p@ss", "https://eve:word@h/"]}, api_key="abc123")
    text = log_text(settings) + json.dumps(events(settings))
    for secret in ("hunter2", "p@ss", "p%40ss", "word@", "abc123", "sesame"):
        assert secret not in text
    assert "RuntimeError: refused ***" in text
    assert "token=***&x=1" in text


def test_an_audit_event_is_one_json_line_with_time_process_and_fields(settings: Settings) -> None:
    audit(
        "video added",
        sha256="ab" * 32,
        size_bytes=12,
        path=Path("data/x.mp4"),
        text="two\nlines",
        at="never",
        nan=float("nan"),
    )
    (event,) = events(settings)
    assert event["event"] == "video added"
    assert (event["size_bytes"], event["path"], event["text"], event["nan"]) == (12, "data/x.mp4", "two\nlines", "nan")
    assert str(event["at"]).startswith("20")
    assert "video added" not in log_text(settings)


def test_a_hostile_text_forges_no_line_and_steers_no_terminal(settings: Settings) -> None:
    logging.getLogger("vidpipe.sources").warning("title %s", "x\n2026-01-01 INFO all is well\x1b[2J\r")
    first, second = log_text(settings).splitlines()
    assert "title x" in first
    assert second == r"    2026-01-01 INFO all is well\x1b[2J\x0d"


def test_the_level_holds_and_other_peoples_loggers_are_left_alone(settings: Settings) -> None:
    logging.getLogger("vidpipe").debug("too fine")
    logging.getLogger("dagster").error("not ours")
    configure_logging(settings.model_copy(update={"logging": settings.logging.model_copy(update={"level": "ERROR"})}))
    logging.getLogger("vidpipe").warning("not bad enough")
    logging.getLogger("vidpipe").error("bad")
    audit("still told")
    assert [line.rsplit(": ", 1)[1] for line in log_text(settings).splitlines()] == ["bad"]
    assert [event["event"] for event in events(settings)] == ["still told"]


def test_a_log_file_that_cannot_be_written_is_named(home: Path) -> None:
    (home / "file").write_text("")
    settings = load(home, {"VIDPIPE_LOGGING_LOGFILE": "file/vidpipe.log"}).settings
    with pytest.raises(SettingsError, match=r"LogFile: .*file/vidpipe\.log cannot be written"):
        configure_logging(settings)


def test_the_log_file_as_json_has_one_object_per_line_without_secrets(home: Path) -> None:
    settings = load(home, {**SECRETS, "VIDPIPE_LOGGING_FORMAT": "JSON"}).settings
    configure_logging(settings)
    try:
        raise RuntimeError("refused sk-hunter2")
    except RuntimeError:
        logging.getLogger("vidpipe.sources").exception("two\nlines of %s", "sk-hunter2")
    reset_logging()
    (record,) = map(json.loads, log_text(settings).splitlines())
    assert (record["level"], record["logger"], record["message"]) == ("ERROR", "vidpipe.sources", "two\nlines of ***")
    assert record["exception"].endswith("RuntimeError: refused ***")
    assert {"at", "process"} <= record.keys()


WRITER = """
import logging, sys
from pathlib import Path
from vidpipe.settings import audit, configure_logging, load, notice, notices_shown
configure_logging(load(Path(sys.argv[1]), {"VIDPIPE_LOGGING_MAXSIZEMB": "1", "VIDPIPE_LOGGING_KEEP": "9"}).settings)
for number in range(700):
    logging.getLogger("vidpipe.stages").info("%s-%d %s", sys.argv[2], number, "x" * 700)
    audit("tick", writer=sys.argv[2], number=number)
"""


def test_several_processes_lose_no_line_while_the_files_rotate(home: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(home), name]) for name in "abc"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    folder = home / "data" / "logs"
    logs = sorted(folder.glob("vidpipe.log*"))
    assert len(logs) >= 2, "nothing rotated"
    lines = [line for log in logs for line in log.read_text().splitlines()]
    told = {line.split(": ", 1)[1].split()[0] for line in lines}
    assert told == {f"{name}-{number}" for name in "abc" for number in range(700)}
    assert len(lines) == 3 * 700
    assert len((folder / "audit.jsonl").read_text().splitlines()) == 3 * 700


def test_a_notice_reaches_the_user_at_any_log_level_and_the_log_at_its_own(settings: Settings) -> None:
    said: list[str] = []
    quiet = settings.model_copy(update={"logging": settings.logging.model_copy(update={"level": "ERROR"})})
    with notices_shown(said.append):
        notice("Waiting for https://ann:pass@db.lan/.")
        configure_logging(quiet)
        notice("Still waiting.")
    notice("Nobody listens any more.")
    assert said == ["Waiting for https://ann:***@db.lan/.", "Still waiting."]
    assert "Waiting for https" in log_text(settings)
    assert "Still waiting" not in log_text(settings)
