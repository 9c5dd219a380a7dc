"""[NearDuplicates] DescribeOnce: the model looks at one of several copies, and the others share what it says."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.models.endpoint.model_server import ModelServer

FILM, SMALL, OTHER = "film.mp4", "small.mkv", "other.mp4"
SEES = "Qwen/Qwen2-VL-7B-Instruct"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
def sharing(vidpipe: Command, server: ModelServer, tmp_path: Path) -> Command:
    """A film, a smaller copy and another clip in the library, of which nothing is known yet."""
    film = clips.moving(tmp_path / FILM, source="mandelbrot", seconds=4.0, size="320x180")
    clips.ffmpeg(tmp_path / SMALL, "-i", str(film), "-vf", "scale=240:136")
    clips.moving(tmp_path / OTHER, seconds=2.0)
    vidpipe.json("add", tmp_path / FILM, tmp_path / SMALL, tmp_path / OTHER)
    return vidpipe.under(
        QWENVL_BACKEND="endpoint", QWENVL_PUBLICENDPOINT=server.url, QWENVL_PROMPTS="describe_scene, describe_video",
        ANALYSES_ENABLED="fingerprint", NEARDUPLICATES_DESCRIBEONCE="yes",
    )  # fmt: skip


def run(command: Command, server: ModelServer, *args: str) -> tuple[int, int]:
    """How many descriptions `vidpipe run` computes, and how often it asks the model."""
    before = len(server.posts)
    report = command.json("run", *args)
    assert not report["failures"], report
    return report["stages"]["descriptions"]["computed"], len(server.posts) - before


def description(command: Command, name: str) -> dict[str, Any]:
    return dict(command.json("show", name)["description"])


@pytest.mark.soak
def test_one_copy_is_described_and_the_others_follow_it(sharing: Command, server: ModelServer, tmp_path: Path) -> None:
    described, asked = run(sharing, server)
    film, small = description(sharing, FILM), description(sharing, SMALL)
    original = sharing.json("show", FILM)["video"]["sha256"]
    assert described == 3
    assert asked == film["asked"] + description(sharing, OTHER)["asked"]
    assert (small["shared_from"], small["shared_from_name"], small["asked"]) == (original, FILM, 0)
    assert (small["text"], small["model"]) == (film["text"], f"{film['model']} (looking at a copy)")
    assert "shared_from" not in film
    scenes = sharing.json("show", SMALL)["scenes"]
    assert scenes
    assert not any(scene["description"] for scene in scenes)
    assert f"(looking at a copy), shared from {FILM})" in " ".join(sharing("show", SMALL).stdout.split())
    assert sharing("export", tmp_path / "out.csv").exit_code == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        by = {row["name"]: row["described_by"] for row in csv.DictReader(file)}
    assert by[SMALL] == f"{film['model']} (looking at a copy), shared from {FILM}"
    assert by[FILM] == film["model"]
    assert run(sharing, server) == (0, 0), "nothing is due"

    again = sharing.under(QWENVL_DEFAULTINSTRUCTION="Count the colors.")
    described, asked = run(again, server)
    assert described == 3
    assert asked
    assert "Count the colors." in description(again, FILM)["text"]
    assert description(again, SMALL)["text"] == description(again, FILM)["text"]

    assert again("duplicates", "--not", FILM, SMALL).exit_code == 0
    described, asked = run(again, server)
    small = description(again, SMALL)
    assert (described, asked) == (1, small["asked"])
    assert "shared_from" not in small


@pytest.mark.soak
def test_a_copy_is_due_once_the_described_one_is_forgotten_or_nothing_is_shared(
    sharing: Command, server: ModelServer
) -> None:
    sharing.json("run", "--stages", "raw_video,metadata,scenes,fingerprint")
    assert run(sharing, server, SMALL)[0] == 1, "named alone it does not wait for the film"
    own = description(sharing, SMALL)
    assert "shared_from" not in own
    run(sharing, server)
    assert description(sharing, FILM)["text"] == own["text"], "the one that is described already stays it"
    assert description(sharing, FILM)["shared_from_name"] == SMALL

    assert sharing("forget", SMALL, "--yes").exit_code == 0
    assert run(sharing, server)[0] == 1
    film = description(sharing, FILM)
    assert "shared_from" not in film
    assert film["asked"]


@pytest.mark.soak
def test_turned_off_each_copy_is_described(sharing: Command, server: ModelServer) -> None:
    run(sharing, server)
    plan = sharing.json("plan", "--force", SMALL)["model"]
    assert (plan["videos"], plan["answers_to_ask"]) == (1, 0)
    off = sharing.under(NEARDUPLICATES_DESCRIBEONCE="no")
    described, asked = run(off, server)
    small = description(off, SMALL)
    assert (described, asked) == (3, small["asked"]), "stored answers are not asked anew"
    assert "shared_from" not in small


def test_without_fingerprints_the_setting_is_refused(sharing: Command) -> None:
    refused = sharing.under(ANALYSES_ENABLED="")("status")
    assert refused.exit_code == 2
    assert "DescribeOnce = yes needs fingerprint in Enabled of [Analyses]" in refused.output
