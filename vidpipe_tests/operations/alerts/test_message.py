"""What an alert says, of whatever strangers named their files."""

from __future__ import annotations

from datetime import UTC, datetime

from vidpipe.operations.alerts.channels import MailChannel, payload
from vidpipe.operations.alerts.message import FailedRun, HighFailureRate, compose, one_line
from vidpipe.settings.operation import Alerts

AT = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)
HOSTILE = "x\r\nBcc: all@example.org\r\n\r\n\x1b[2J\u202egnp.exe <!channel> @everyone [here](http://evil)\x00.mp4"


def run(number: int, *sentences: str, job: str = "describe") -> FailedRun:
    address = f"http://127.0.0.1:3000/runs/{number}"
    return FailedRun(id=f"run-{number}", job=job, at=AT, sentences=sentences, address=address)


def test_it_tells_how_many_of_which_job_why_and_where_to_look() -> None:
    runs = [run(1, "1 of 9 videos failed; the others are done.", "a.mp4, scenes: cut short. Fetch it again.")]
    message = compose(runs, [], {"describe": 1}, host="box", home="/srv/videos")
    assert message.title == "vidpipe on box: 1 run failed (describe 1)"
    assert "a.mp4, scenes: cut short. Fetch it again." in message.text
    assert "http://127.0.0.1:3000/runs/1" in message.text
    assert "vidpipe status --failed" in message.text
    assert "/srv/videos" in message.text
    assert message.fields["failed_runs"] == 1


def test_many_runs_are_summed_up_and_the_first_are_told_in_full() -> None:
    runs = [run(number, f"reason {number}") for number in range(20)]
    message = compose(runs, [], {"describe": 130, "ingest": 7}, host="box", home="/home")
    assert message.title == "vidpipe on box: 137 runs failed (describe 130, ingest 7)"
    assert "reason 4" in message.text
    assert "reason 5" not in message.text
    assert "… and 132 more." in message.text
    assert len(message.text) < 4000


def test_a_high_rate_names_its_numbers() -> None:
    rate = HighFailureRate(what="scenes", failed=12, tried=40, minutes=60, limit=0.2, at=AT)
    message = compose([], [rate], {}, host="box", home="/home")
    assert message.title == "vidpipe on box: too many failures: scenes"
    said = "12 of 40 videos in stage scenes failed within 60 minutes (30%; [Alerts] FailureRate is 20%)."
    assert said in message.text


def test_hostile_names_stay_on_their_line_and_call_nobody() -> None:
    message = compose([run(1, f"{HOSTILE}, scenes: bad")], [], {HOSTILE: 1}, host="box", home="/home")
    assert not any(ord(character) < 32 and character != "\n" for character in message.text)
    assert "\u202e" not in message.text
    assert "\n" not in message.title
    assert [line for line in message.text.splitlines() if line.startswith("Bcc")] == []
    sent = str(payload(message)["text"])
    assert "<!channel>" not in sent
    assert "@everyone" not in sent
    assert "](" not in sent


def test_a_mail_has_no_header_that_a_file_name_wrote() -> None:
    alerts = Alerts(mail_to=("a@example.org",), smtp_host="localhost")
    message = compose([run(1, HOSTILE)], [], {HOSTILE: 1}, host="box\r\nBcc: b@example.org", home="/home")
    mail = MailChannel(alerts).compose(message)
    assert set(mail.keys()) == {"Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "Content-Type",
                                "Content-Transfer-Encoding", "MIME-Version"}  # fmt: skip
    assert b"\nBcc:" not in mail.as_bytes()


def test_long_texts_are_cut_and_secrets_masked() -> None:
    assert one_line("x" * 500, 100) == "x" * 99 + "…"
    assert one_line("http://me:hunter2@host/?token=abcdef", 100) == "http://me:***@host/?token=***"
