"""What identifies a video stays out of Dagster's files, whatever becomes of the video."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.event_metadata import anonymous, without_identity
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.ingest import run_ingest
from vidpipe.pipeline.partitions import add_videos
from vidpipe.settings import Settings
from vidpipe.stages.contract import StageError
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests import clips
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.pipeline.test_checks import run_job
from vidpipe_tests.pipeline.test_process import failed_videos

SHA256 = "ab12" * 16
NAME = f"video {SHA256[:12]}"


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


def refer(library: Library, path: Path) -> str:
    """Adds a file where it lies, with a telltale URL, title and label."""
    stat = path.stat()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = IngestFacts(
        path=str(path),
        size_bytes=stat.st_size,
        modified_ns=stat.st_mtime_ns,
        referenced=True,
        names=(path.name,),
        urls=(f"https://telltale.example/{path.name}?id=telltale",),
        titles=("A Telltale Title",),
        labels=("telltale label",),
    )
    library.videos.add(sha256, facts)
    return sha256


def telltales(settings: Settings) -> list[bytes]:
    """What Dagster's files hold around each telltale."""
    files = [path for path in dagster_home(settings).rglob("*") if path.is_file()]
    return [match[0] for path in files for match in re.finditer(b"(?i).{,200}telltale.{,50}", path.read_bytes())]


def test_no_file_of_dagster_holds_a_name_url_title_or_text(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, tmp_path: Path
) -> None:
    folder = tmp_path / "Telltale folder"
    folder.mkdir()
    good = clips.color_cuts(folder / "telltale good.mp4", seconds_each=0.8)
    lost = clips.color_cuts(folder / "telltale lost.mp4", seconds_each=0.9)
    broken = folder / "telltale broken.mp4"
    broken.write_bytes(b"no video at all" * 100)
    ids = [refer(library, path) for path in (good, lost, broken)]
    lost.unlink()
    run_process(settings, graph=GRAPH, library=library)
    assert set(failed_videos(dagster, "raw_video")) == {ids[1]}
    assert set(failed_videos(dagster, "metadata")) == {ids[2]}
    add_videos(dagster, ids)
    for video in ids:
        run_job(dagster, settings, "prepare", video)
    run_job(dagster, settings, "verify")
    described = {"descriptions.text": "Something telltale is seen."}
    library.collections["videos"].update_one({"_id": ids[0]}, {"$set": described})
    assert telltales(settings) == []


def test_ingest_leaves_no_name_or_url_in_dagster_either(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, tmp_path: Path
) -> None:
    folder = tmp_path / "Telltale folder"
    folder.mkdir()
    good = clips.color_cuts(folder / "telltale good.mp4", seconds_each=0.7)
    broken = folder / "telltale broken.mp4"
    broken.write_bytes(b"no video at all" * 100)
    inputs = [
        str(good),
        str(broken),
        str(folder / "telltale missing.mp4"),
        "http://127.0.0.1:9/telltale/video.mp4?token=telltale",
        "https://user:telltale@telltale.invalid/telltale%20clip.mp4",
        "gopher://telltale.example/telltale",
    ]
    outcomes = run_ingest(settings, inputs, labels=["telltale label"], graph=GRAPH, library=library)
    stored = [outcome.video for outcome in outcomes if outcome.stored]
    assert len(outcomes) == len(inputs)
    assert stored == [hashlib.sha256(good.read_bytes()).hexdigest()]
    assert dagster.get_runs(dg.RunsFilter(job_name="ingest", statuses=[dg.DagsterRunStatus.FAILURE]))
    assert dagster.get_dynamic_partitions("videos") == stored
    assert telltales(settings) == []


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f"Holiday.mp4 ({SHA256[:12]}), stage scenes: it is damaged.", "it is damaged."),
        ("Holiday.mp4 is no video.", f"{NAME} is no video."),
        ("holiday is no video.", f"{NAME} is no video."),
        ("/home/me/films/Holiday.mp4 cannot be read.", f"{NAME} cannot be read."),
        ("https://example.org/a%20b?x=1: HTTP 404.", f"{NAME}: HTTP 404."),
        ("Redirected to https://cdn.example.org/xyz.", "Redirected to [URL]"),
        ("The model at http://127.0.0.1:8000/v1 is busy.", "The model at http://127.0.0.1:8000/v1 is busy."),
        ("The holidays are over.", "The holidays are over."),
        (f"{NAME}: ffmpeg decoded no frame.", f"{NAME}: ffmpeg decoded no frame."),
    ],
)
def test_a_message_names_the_video_by_its_id(settings: Settings, message: str, expected: str) -> None:
    texts = ("Holiday.mp4", "Holiday", "https://example.org/a%20b?x=1", "/home/me/films/Holiday.mp4")
    assert without_identity(message, SHA256, texts, settings) == expected


def test_paths_below_the_home_become_relative(settings: Settings) -> None:
    error = StageError(f"The disk of {settings.home}/data/derived is full.", "Free space.", transient=True)
    safe = anonymous(error, {"_id": SHA256}, settings)
    assert (safe.message, safe.hint, safe.transient) == ("The disk of data/derived is full.", "Free space.", True)
