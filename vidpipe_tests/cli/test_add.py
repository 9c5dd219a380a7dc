"""Taking videos in by the command."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command


def test_each_input_has_a_state_and_a_video_or_an_error(vidpipe: Command, tmp_path: Path) -> None:
    clip = clips.moving(tmp_path / "clip.mp4", seconds=0.5)
    text = tmp_path / "notes.mp4"
    text.write_text("no video at all\n" * 50)
    found = {
        entry["input"]: entry for entry in vidpipe.json("add", clip, text, tmp_path / "nowhere.mp4", code=1)["inputs"]
    }
    assert found[str(clip)]["state"] == "stored"
    assert len(found[str(clip)]["video"]) == 64
    assert found[str(clip)]["error"] is None
    assert found[str(text)]["state"] == "refused"
    assert (found[str(text)]["video"], bool(found[str(text)]["error"])) == (None, True)
    assert "no such file" in found[str(tmp_path / "nowhere.mp4")]["error"]


def test_urls_folders_lists_tables_and_stdin(vidpipe: Command, site: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = site
    colors = ["red", "green", "blue", "white", "black"]
    served = [clips.color_cuts(folder / f"{color}.mp4", [color], seconds_each=0.4) for color in colors[:3]]
    clips.color_cuts(tmp_path / "folder" / "deep" / "white.mp4", ["white"], seconds_each=0.4)
    (tmp_path / "table.csv").write_text(f"url,title\n{address}/{served[1].name},Green\n")
    result = vidpipe.json(
        "add", f"{address}/red.mp4", tmp_path / "folder", tmp_path / "table.csv", "-",
        given=f"# a comment\n\n{address}/blue.mp4\n",
    )  # fmt: skip
    assert result["counts"] == {"stored": 4}
    assert len({entry["video"] for entry in result["inputs"]}) == 4
    assert vidpipe.json("show", f"{address}/blue.mp4")["sources"][0]["url"] == f"{address}/blue.mp4"


def test_the_same_bytes_are_one_video_with_two_sources(vidpipe: Command, tmp_path: Path) -> None:
    clips.moving(tmp_path / "one.mp4", seconds=0.5)
    (tmp_path / "two.mp4").write_bytes((tmp_path / "one.mp4").read_bytes())
    first, second = vidpipe.json("add", tmp_path / "one.mp4", tmp_path / "two.mp4")["inputs"]
    assert first["video"] == second["video"]
    shown = vidpipe.json("show", "two.mp4")
    assert shown["video"]["names"] == ["one.mp4", "two.mp4"]
    assert len(shown["sources"]) == 2


def test_a_name_that_is_not_utf_8_is_taken_and_shown_escaped(vidpipe: Command, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    clips.moving(folder / "clip.mp4", seconds=0.5)
    os.rename(folder / "clip.mp4", os.fsencode(folder / "caf") + b"\xe9.mp4")
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0 picture")
    shown = r"caf\xe9.mp4"
    added = vidpipe.json("add", folder, "--mode", "reference")
    assert [(entry["input"], entry["state"]) for entry in added["inputs"]] == [(str(folder / shown), "stored")]
    assert added["notes"] == [
        {"input": str(folder), "note": f"{folder}: skipped 1 file: 1 JPEG picture.", "skipped": {"JPEG picture": 1}}
    ]
    assert str(folder / shown) in vidpipe("show", os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4")).stdout


def test_what_failed_is_tried_again_when_asked(vidpipe: Command, site: tuple[str, Path]) -> None:
    address, folder = site
    url = f"{address}/late.mp4"
    assert vidpipe.json("add", url, code=1)["inputs"][0]["state"] == "gone"
    clips.moving(folder / "late.mp4", seconds=0.5)
    again = vidpipe.json("add", url, code=1)["inputs"][0]
    assert (again["state"], again["attempts"], again["known"]) == ("gone", 1, True)
    shown = vidpipe("add", url)
    assert "Failed on 20" in shown.output
    assert "Use `vidpipe add --retry` to retry." in shown.output
    retried = vidpipe.json("add", url, "--retry")["inputs"][0]
    assert (retried["state"], retried["error"]) == ("stored", None)


def test_a_known_url_is_asked_for_other_bytes_when_told(vidpipe: Command, site: tuple[str, Path]) -> None:
    address, folder = site
    clips.color_cuts(folder / "x.mp4", ["red"], seconds_each=0.4)
    before = vidpipe.json("add", f"{address}/x.mp4")["inputs"][0]["video"]
    clips.color_cuts(folder / "x.mp4", ["blue"], seconds_each=0.8)
    os.utime(folder / "x.mp4", (time.time() + 10, time.time() + 10))
    assert vidpipe.json("add", f"{address}/x.mp4")["inputs"][0]["video"] == before
    after = vidpipe.json("add", f"{address}/x.mp4", "--refresh")["inputs"][0]["video"]
    assert after != before
    assert vidpipe.json("show", before)["sources"][0]["video"] == after


def test_a_referenced_file_stays_where_it_is(vidpipe: Command, tmp_path: Path) -> None:
    clip = clips.moving(tmp_path / "mine.mp4", seconds=0.5)
    vidpipe.json("add", clip, "--mode", "reference")
    shown = vidpipe.json("show", "mine.mp4")["video"]
    assert (shown["path"], shown["referenced"]) == (str(clip), True)


def test_add_goes_on_with_a_run_and_an_export(vidpipe: Command, tmp_path: Path) -> None:
    clip = clips.color_cuts(tmp_path / "clip.mp4", seconds_each=0.8)
    result = vidpipe.json(
        "add", clip, "nobody", "--output", tmp_path / "out.jsonl", "--scene_threshold", "4", code=4
    )  # fmt: skip
    assert result["counts"] == {"stored": 1, "refused": 1}
    assert result["run"]["stages"]["categories"]["computed"] == 1
    assert (tmp_path / "out.jsonl").read_text().count("\n") == 1


def test_secrets_in_addresses_are_shown_to_nobody(vidpipe: Command) -> None:
    result = vidpipe("add", "http://user:hunter2@127.0.0.1:9/x.mp4?token=abcdef", "--json")
    assert result.exit_code == 1
    assert "hunter2" not in result.output
    assert "abcdef" not in result.output


def test_ctrl_c_keeps_what_was_downloaded(vidpipe: Command, site: tuple[str, Path]) -> None:
    address, _ = site
    process = vidpipe.start("add", f"{address}/slow/x.mp4", "--json")
    incoming = vidpipe.home / "data" / "media"
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in incoming.rglob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert '"cancelled"' in stdout
    assert "partial downloads are kept" in stderr
    assert any(path.stat().st_size for path in incoming.rglob("*.part"))


def test_labels_and_a_title_can_be_given_and_given_anew(vidpipe: Command, tmp_path: Path) -> None:
    clip = clips.moving(tmp_path / "clip.mp4", seconds=0.4)
    (tmp_path / "list.csv").write_text("url,labels\nclip.mp4,cats\n")
    vidpipe.json("add", tmp_path / "list.csv", "--label", "2019")
    assert vidpipe.json("show", "clip.mp4")["video"]["labels"] == ["2019", "cats"]
    vidpipe.json("add", clip, "--label", "dogs", "--title", "A day out")
    shown = vidpipe.json("show", "clip.mp4")["video"]
    assert (shown["labels"], shown["title"]) == (["dogs"], "A day out")
    assert vidpipe("add", tmp_path, "--title", "All of them").exit_code == 2


def test_a_page_gives_its_best_video_and_a_link_that_is_gone_a_date(
    vidpipe: Command, site: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = site
    clips.color_cuts(folder / "best-720p.mp4", ["red"], seconds_each=0.4)
    clips.color_cuts(folder / "second.mp4", ["green"], seconds_each=0.4)
    page = folder / "page.html"
    page.write_text(
        "<!doctype html><title>A fine film</title><video src=best-720p.mp4></video><video src=second.mp4></video>"
    )
    added = vidpipe("add", f"{address}/page.html")
    assert added.exit_code == 0, added.stderr
    assert f"took {address}/best-720p.mp4: the page's <video>, 720p, best of 2" in added.stderr
    every = vidpipe.json("add", "--all", f"{address}/page.html")
    assert [one["url"] for one in every["inputs"]] == [f"{address}/best-720p.mp4", f"{address}/second.mp4"]
    assert len(vidpipe.json("add", "--all", "--limit", "1", f"{address}/page.html")["inputs"]) == 1
    page.unlink()
    kept = vidpipe.json("add", "--refresh", f"{address}/page.html")["inputs"][0]
    assert (kept["state"], kept["error"]) == ("unchanged", None)
    assert "its video is kept" in kept["note"]
    shown = vidpipe("show", f"{address}/page.html").stdout
    assert "A fine film" in shown
    assert "gone since" in shown
    never = vidpipe.json("add", f"{address}/never.mp4", code=1)["inputs"][0]
    assert never["state"] == "gone"
    status = vidpipe.json("status", "--failed")
    assert (status["sources"]["gone"], len(status["gone_sources"]), status["failed_sources"]) == (1, 1, [])
    assert "gone since" in vidpipe("status", "--failed").stdout
