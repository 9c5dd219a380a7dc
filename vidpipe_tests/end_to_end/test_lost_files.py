"""Files that somebody deleted, and a download that was killed."""

from __future__ import annotations

import shutil
from pathlib import Path

from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.end_to_end.home import Home, Picture, wait_for
from vidpipe_tests.fault_server import FaultServer, slow


def test_a_lost_file_is_fetched_again_and_a_lost_pack_made_again(
    finished_home: Home, undisturbed: Picture, server: FaultServer, clip_files: list[Path]
) -> None:
    """Nothing else is computed; a file whose source is gone, too, fails with a sentence, alone."""
    home, before = finished_home, undisturbed.library
    of = {entry["video"]["name"]: entry for entry in before}
    lost, gone, packless = of["cuts-0.mp4"], of["cuts-1.mp4"], of["cuts-2.mp4"]
    for entry in (lost, gone):
        (home.path / entry["video"]["path"]).unlink()
    pack = home.path / packless["scene_summary"]["pack"]["path"]
    shutil.rmtree(pack)
    served = server.files.pop("/cuts-1.mp4")
    asked = len(server.seen("/cuts-0.mp4"))
    try:
        report = home.json("run", code=1)
    finally:
        server.files["/cuts-1.mp4"] = served
    assert len(server.seen("/cuts-0.mp4")) == asked + 1
    assert (home.path / lost["video"]["path"]).read_bytes() == served_bytes(clip_files, "cuts-0.mp4")
    computed = {stage: counts["computed"] for stage, counts in report["stages"].items() if counts["computed"]}
    assert computed == {"raw_video": 1, "scenes": 1}
    assert (pack / "frames.pack").is_file()
    [failure] = report["failures"]
    assert (failure["name"], failure["stage"]) == ("cuts-1.mp4", "raw_video")
    assert "could not be fetched again" in failure["message"]
    assert "no such file (404" in failure["message"]
    assert "vidpipe add" in failure["hint"] or "Add the video again" in failure["hint"]

    report = home.json("run", "--retry")
    assert report["failures"] == []
    assert {stage: counts["computed"] for stage, counts in report["stages"].items() if counts["computed"]} == {
        "raw_video": 1
    }
    assert home.states() == {stage: {"current": 12} for stage in GRAPH.names}
    # What came out as before leaves no entry; what had failed in between does.
    assert home.commits() - undisturbed.commits == {(gone["video"]["sha256"], "raw_video"): 1}
    assert [without_check(entry) for entry in home.library()] == [without_check(entry) for entry in before]


def served_bytes(clip_files: list[Path], name: str) -> bytes:
    return next(path.read_bytes() for path in clip_files if path.name == name)


def without_check(entry: dict[str, object]) -> dict[str, object]:
    """What is known of a video, except when its file was last checked and how often it was processed."""
    return {name: value for name, value in entry.items() if name not in ("stages",)}


def test_a_killed_download_goes_on_where_it_was(
    empty_home: Home, server: FaultServer, clip_files: list[Path], undisturbed: Picture
) -> None:
    home = empty_home
    content = served_bytes(clip_files, "moving-4.mp4")
    served = server.files["/moving-4.mp4"]
    served.faults.append(slow(len(content) // 40, 0.1))
    process = home.start("add", server.url("/moving-4.mp4"))
    wait_for("a part of the file is there", lambda: _part_bytes(home) > len(content) // 10)
    process.kill()
    process.communicate()
    there = _part_bytes(home)
    assert 0 < there < len(content)
    assert home.json("add", server.url("/moving-4.mp4"))["counts"] == {"stored": 1}
    last = server.seen("/moving-4.mp4")[-1]
    assert (last.status, last.headers["range"], last.sent) == (206, f"bytes={there}-", len(content) - there)
    shown = home.json("show", server.url("/moving-4.mp4"))
    [undisturbed_one] = [entry for entry in undisturbed.library if entry["video"]["name"] == "moving-4.mp4"]
    assert shown["video"]["sha256"] == undisturbed_one["video"]["sha256"]
    assert (home.path / shown["video"]["path"]).read_bytes() == content
    assert [source["state"] for source in shown["sources"]] == ["stored"]
    home.assert_tidy()


def _part_bytes(home: Home) -> int:
    return sum(path.stat().st_size for path in (home.data / "media" / "incoming").glob("*.part"))
