"""`vidpipe verdict`: one verdict, a table of them, and the list."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe_tests.cli.conftest import CUTS, TALK, Command


@pytest.fixture
def judged(filled: Command) -> Command:
    """The library, which is as before at the end of each test."""
    assert filled.json("verdict") == {"verdicts": []}
    return filled


def tags(vidpipe: Command, video: str) -> dict[str, str]:
    return {tag["tag"]: tag["evidence"] for tag in vidpipe.json("show", video)["tags"]}


def test_a_verdict_gives_or_removes_a_tag_at_once_until_it_is_withdrawn(judged: Command) -> None:
    before = tags(judged, CUTS)
    tag = next(iter(before))
    assert judged("verdict", CUTS, tag, "no").exit_code == 0
    assert tag not in tags(judged, CUTS)
    assert judged("verdict", CUTS, "Zebra crossing", "yes").exit_code == 2
    done = judged.json("verdict", CUTS, "Zebra crossing", "yes", "--yes", "--note", "=at the end", "--by", "ada")
    assert (done["applied"], done["verdicts"][0]["previous"]) == (True, None)
    assert tags(judged, CUTS)["Zebra crossing"].endswith(": =at the end")
    table = judged("verdict", CUTS, "--export").stdout
    assert "'=at the end" in table
    assert {row["tag"] for row in judged.json("verdict", CUTS)["verdicts"]} == {tag, "Zebra crossing"}
    assert "verdict Zebra crossing: verdict yes. =at the end [by ada" in judged("history", CUTS).stdout
    assert "--limit 0 shows all" in judged("history", CUTS, "--limit", "1").stderr
    assert judged.json("history", CUTS, "--limit", "0")["next"] is None
    for name in (tag, "zebra-crossing"):
        assert judged("verdict", CUTS, name, "--withdraw").exit_code == 0
    assert tags(judged, CUTS) == before
    path = judged.home / "verdicts.csv"
    path.write_text(table)
    assert judged("verdict", "--import", path, "--yes").exit_code == 0
    assert judged("verdict", "--import", path, "--from-label-studio", path).exit_code == 2
    assert judged("verdict", "--export").stdout == table, "what was exported can be imported"
    for name in (tag, "zebra-crossing"):
        judged("verdict", CUTS, name, "--withdraw")


def test_a_wrong_verdict_says_what_is_wrong(judged: Command) -> None:
    for args, code, says in (
        ((CUTS, "Zebra", "maybe", "--yes"), 2, "maybe"), (("nothing", "Zebra", "yes", "--yes"), 4, "nothing"),
        ((CUTS, "Zebra", "yes", "--yes", "--at", "noon"), 2, "noon"),
        ((CUTS, "a\x1b[2J", "yes", "--yes"), 2, "control"),
        ((CUTS, "Zebra", "yes", "--yes", "--at", "9:00:00"), 1, "no scene at 9:00:00"),
        ((CUTS, "Seasid", "yes"), 2, "--yes accepts it"), (("--import", judged.home / "absent.csv"), 3, "absent.csv"),
    ):  # fmt: skip
        result = judged("verdict", *args)
        assert (result.exit_code, says in result.output) == (code, True), result.output


def test_each_wrong_line_of_a_table_is_reported_and_no_other_is_lost(judged: Command, tmp_path: Path) -> None:
    lines = [
        b"\xef\xbb\xbfVideo,TAG,verdict,note,start_s,by",
        f'{CUTS},Rain,yes,"a, b",,ada'.encode(),
        f'{CUTS},"Unclosed,yes'.encode(),
        f"{CUTS},Snow,perhaps".encode(),
        b"",
        b"no-such-video,Snow,yes",
        f"{CUTS},Snow,yes,,,,,too,many".encode(),
        f"{CUTS},Sn\xff\x00ow,yes".encode("latin-1"),
        f"{CUTS},{'x' * 200_000},yes".encode(),
        f"{CUTS},Snow,yes,,inf".encode(),
        f"{CUTS},Snow".encode(),
        f"{TALK},'=Sun,no,,0:00.1".encode(),
    ]
    path = tmp_path / "labels.csv"
    path.write_bytes(b"\r\n".join(lines))
    done = judged.json("verdict", "--import", path, "--yes", code=1)
    assert [one["line"] for one in done["problems"]] == [3, 4, 6, 7, 8, 9, 10, 11]
    said = [(one["tag"], one["verdict"], one["note"], one["by"]) for one in done["verdicts"]]
    assert said[0] == ("Rain", "yes", "a, b", "ada")
    assert said[1][:3] == ("=Sun", "no", "")
    assert "Rain" in tags(judged, CUTS)
    judged("verdict", CUTS, "Rain", "--withdraw")
    judged("verdict", TALK, "=Sun", "--at", "0", "--withdraw")
    path.write_text("url,label\n")
    assert judged("verdict", "--import", path).exit_code == 2
