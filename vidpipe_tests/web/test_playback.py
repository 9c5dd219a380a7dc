"""How a browser plays a video: the original or a proxy, and the storyboard, through the API."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunRequest
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests import clips
from vidpipe_tests.default_graph import GRAPH

Videos = dict[str, str]


@pytest.fixture(scope="module")
def opened(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Videos]]:
    """(client, name of a file -> its video) of a library with a video that browsers play and one they do not."""
    folder, videos = tmp_path_factory.mktemp("clips"), {}
    plays = clips.color_cuts(folder / "plays.mp4", size="320x180", audio="sine")
    hevc = clips.color_cuts(folder / "hevc.mkv", size="320x180", codec="libx265", pixel_format="yuv420p10le")
    with Library.open(module_settings, GRAPH) as library, closing(Plan.make(GRAPH, module_settings)) as plan:
        for path in (plays, hevc):
            stat, sha256 = path.stat(), hashlib.sha256(path.read_bytes()).hexdigest()
            place = {"path": str(path), "size_bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
            library.videos.add(sha256, IngestFacts(**place, referenced=True, names=(path.name,)))
            videos[path.name] = sha256
        assert Runner(library, plan).run(RunRequest(stages=["raw_video", "metadata", "scenes"])).ok
    home = WebHome(lambda: module_settings)
    yield TestClient(create_app(home), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5000)), videos
    home.close()


def test_what_browsers_play_is_played_as_it_is(opened: tuple[TestClient, Videos]) -> None:
    client, videos = opened
    found = client.get(f"/api/v1/videos/{videos['plays.mp4']}/playback").json()
    assert found == {
        "playable": True, "reason": "Browsers play H.264 in MP4 files.",
        "url": f"/api/v1/videos/{videos['plays.mp4']}/media",
        "proxy": {"state": "none", "progress": 0.0, "error": None},
    }  # fmt: skip


def test_what_they_do_not_play_is_played_from_a_proxy(opened: tuple[TestClient, Videos], tmp_path: Path) -> None:
    client, videos = opened
    url = f"/api/v1/videos/{videos['hevc.mkv']}"
    found = client.get(f"{url}/playback").json()
    assert (found["playable"], found["url"]) == (False, f"{url}/proxy")
    assert found["reason"] == "Browsers do not play Matroska files."
    missing = client.get(f"{url}/proxy")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
    asked = client.post(f"{url}/proxy")
    assert (asked.status_code, asked.json()["state"]) == (202, "making")
    while (state := client.get(f"{url}/playback").json()["proxy"])["state"] == "making":
        time.sleep(0.05)
    assert state == {"state": "ready", "progress": 1.0, "error": None}
    whole = client.get(f"{url}/proxy")
    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    part = client.get(f"{url}/proxy", headers={"Range": "bytes=4-7", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert part.headers["content-range"] == f"bytes 4-7/{len(whole.content)}"
    (tmp_path / "proxy.mp4").write_bytes(whole.content)
    reader = cv2.VideoCapture(str(tmp_path / "proxy.mp4"))
    assert (reader.get(cv2.CAP_PROP_FRAME_COUNT), reader.get(cv2.CAP_PROP_FPS)) == (75, 25)


def test_the_storyboard_shows_what_the_video_shows_at_its_times(opened: tuple[TestClient, Videos]) -> None:
    client, videos = opened
    url = f"/api/v1/videos/{videos['plays.mp4']}"
    board = client.get(f"{url}/storyboard").json()
    assert (board["width"], board["height"], board["columns"]) == (160, 90, min(10, len(board["times_s"])))
    got = client.get(board["url"])
    assert got.headers["cache-control"] == "private, max-age=31536000, immutable"
    picture = cv2.imdecode(np.frombuffer(got.content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (90 * board["rows"], 160 * board["columns"], 3)
    vtt = client.get(f"{url}/storyboard.vtt")
    assert vtt.headers["content-type"].startswith("text/vtt")
    places = re.findall(r"storyboard\.jpg#xywh=(\d+),(\d+),160,90", vtt.text)
    assert len(places) == len(board["times_s"])
    for time_s, (x, y) in zip(board["times_s"], places, strict=True):
        blue, green, red = picture[int(y) + 45, int(x) + 80]
        assert int(time_s) == int(np.argmax([red, green, blue])), (time_s, red, green, blue)


def test_a_client_that_has_the_storyboard_does_not_get_it_again(opened: tuple[TestClient, Videos]) -> None:
    client, videos = opened
    for name in ("storyboard.jpg", "storyboard.vtt"):
        url = f"/api/v1/videos/{videos['plays.mp4']}/{name}"
        first = client.get(url)
        assert first.headers["cache-control"] == "private, no-cache"
        again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_without_its_frames_a_video_has_no_storyboard(
    opened: tuple[TestClient, Videos], module_settings: Settings
) -> None:
    client, videos = opened
    video = videos["hevc.mkv"]
    shutil.rmtree(module_settings.derived_directory / video)
    for name in ("storyboard", "storyboard.jpg", "storyboard.vtt"):
        problem = client.get(f"/api/v1/videos/{video}/{name}")
        assert problem.status_code == 404
        assert "--stage scenes" in problem.json()["hint"]


@pytest.mark.parametrize("name", ["playback", "proxy", "storyboard", "storyboard.jpg", "storyboard.vtt"])
def test_unknown_videos_are_not_found(opened: tuple[TestClient, Videos], name: str) -> None:
    client = opened[0]
    assert client.get(f"/api/v1/videos/{'0' * 64}/{name}").status_code == 404
    assert client.get(f"/api/v1/videos/x/{name}").status_code == 422
