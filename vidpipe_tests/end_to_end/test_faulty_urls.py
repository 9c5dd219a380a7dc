"""Every fault of the issue in one list, among good files: the good ones come through, the bad ones say what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.end_to_end.home import Home
from vidpipe_tests.fault_server import FaultServer, cut, endless, page, redirect, status, wrong_length

#: What the error of each bad URL says.
REFUSED = {
    "page": "this is a web page \\(HTML\\), .*in which no video was found",
    "endless": "the file is larger than 1 MB. MaxSizeMB in the section \\[Download\\]",
    "loop": "redirect loop. Use the direct link",
    "inside": "169.254.169.254 is .*; vidpipe does not connect to it",
    "short": "index \\(moov atom\\) is missing.*Fetch it again",
}


@pytest.fixture
def urls(server: FaultServer, clip_files: list[Path]) -> dict[str, str]:
    """name -> URL: three good ones, and all faults."""
    content = {path.stem: path.read_bytes() for path in clip_files}
    moved = content["moving-4"] + b"\0" * 100  # bytes of its own, so that it is a video of its own
    return {
        "good-1": server.url("/cuts-0.mp4"),
        "cut at 30 %": server.add("/cut.mp4", content["cuts-1"], faults=[cut(0.3)]),
        "503": server.add("/busy.mp4", content["moving-0"], faults=[status(503, retry_after="1")]),
        "too long": server.add("/longer.mp4", content["moving-1"], faults=[wrong_length(500)]),
        "short": server.add("/shorter.mp4", content["moving-2"], always=wrong_length(-len(content["moving-2"]) // 2)),
        "page": server.add("/page.mp4", b"", always=page),
        "endless": server.add("/endless.mp4", content["moving-3"], always=endless()),
        "good-2": server.url("/talk.mkv"),
        "loop": server.add("/loop.mp4", b"", always=redirect("/loop.mp4")),
        "inside": server.add("/inside.mp4", b"", always=redirect("http://169.254.169.254/latest/clip.mp4")),
        "good-3": server.add("/moved.mp4", moved),
    }


def test_good_ones_are_described_and_tagged_and_each_bad_one_says_what_to_do(
    empty_home: Home, server: FaultServer, urls: dict[str, str], tmp_path: Path
) -> None:
    listed = tmp_path / "urls.txt"
    listed.write_text("".join(f"{url}\n" for url in urls.values()))
    home = Home(empty_home.path, {**empty_home.env, "VIDPIPE_DOWNLOAD_MAXSIZEMB": "1"})

    added = home.json("add", listed, code=1)
    outcomes = {name: next(row for row in added["inputs"] if row["url"] == url) for name, url in urls.items()}
    good = [name for name in urls if name not in REFUSED]
    assert {name: outcomes[name]["state"] for name in good} == dict.fromkeys(good, "stored")
    for name, sentence in REFUSED.items():
        assert outcomes[name]["state"] in ("failed", "refused"), name
        assert outcomes[name]["video"] is None
        assert re.search(sentence, outcomes[name]["error"]), outcomes[name]["error"]
        assert "Traceback" not in outcomes[name]["error"]
    resumed = server.seen("/cut.mp4")[-1]
    assert (resumed.status, resumed.headers["range"][:6]) == (206, "bytes=")
    assert not [request for request in server.requests if "latest" in request.path]

    assert home("run").code == 0
    for name in good:
        shown = home.json("show", urls[name]) if name in ("cut at 30 %", "good-2") else None
        if shown:
            assert shown["description"]["text"]
            assert shown["tags"]
            assert shown["category"]
            assert {stage["state"] for stage in shown["stages"].values()} == {"current"}
    status = home.json("status", "--failed")
    assert {name: status["stages"][name]["current"] for name in GRAPH.names} == dict.fromkeys(GRAPH.names, len(good))
    assert status["sources"]["stored"] == len(good)
    assert status["sources"]["failed"] + status["sources"]["refused"] == len(REFUSED)
    assert {row["url"]: row["message"] for row in status["failed_sources"]} == {
        urls[name]: outcomes[name]["error"] for name in REFUSED
    }
