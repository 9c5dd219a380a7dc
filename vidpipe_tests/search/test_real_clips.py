"""What real files that nobody here made say of themselves is found, each thing at its second."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.search.engine import Engine
from vidpipe.search.index import SearchIndex
from vidpipe.settings import Settings, init_home
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.default_graph import GRAPH

#: Name -> labels and titles that its sources give it.
_CLIPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bikes.mp4": (("Bicycle films",), ("The Quiet Road",)),
    "bigbuckbunny.mp4": (("animation",), ("Grosses Häschen",)),
    "nasa.mp4": (("space", "Wissenschaft"), ()),
    "dj1.mp4": (("animation",), ("卡通故事",)),
    "pancake.mkv": ((), ()),
    "h264_10bit.mp4": ((), ()),
}
#: Where the scenes of clips begin that have hard cuts.
_CUTS_S = {"bikes.mp4": (0.0, 1.2, 3.04, 5.48, 7.48), "dj1.mp4": (0.0, 6.0, 9.875), "nasa.mp4": (0.0, 5.08, 8.08)}


@pytest.fixture(scope="module")
def engine(module_settings: Settings, clips_directory: Path) -> Iterator[Engine]:
    init_home(module_settings.home)
    plan = Plan.make(GRAPH, module_settings)
    with Library.open(module_settings, GRAPH) as library:
        for name, (labels, titles) in _CLIPS.items():
            path = clips_directory / name
            stat = path.stat()
            facts = IngestFacts(
                path=str(path), size_bytes=stat.st_size, modified_ns=stat.st_mtime_ns, referenced=True,
                names=(name,), urls=(f"https://clips.example/real/{name}",), labels=labels, titles=titles,
            )  # fmt: skip
            library.videos.add(hashlib.sha256(path.read_bytes()).hexdigest(), facts)
        assert Runner(library, plan).run().ok
        with SearchIndex.open(library) as index:
            yield Engine(library, plan.specs, index)
    plan.close()


def names(hits: list[dict[str, Any]]) -> list[str]:
    return sorted(hit["name"] for hit in hits)


@pytest.mark.parametrize(
    ("query", "matched_in", "name"),
    [
        ("bikes", "file", "bikes.mp4"),
        ("bigbuckbunny", "file", "bigbuckbunny.mp4"),
        ("pancakes", "file", "pancake.mkv"),
        ("10bit", "file", "h264_10bit.mp4"),
        ("file:h264", "file", "h264_10bit.mp4"),
        ("bicycle", "label", "bikes.mp4"),
        ("wissenschaft", "label", "nasa.mp4"),
        ('"quiet road"', "title", "bikes.mp4"),
        ("haschen", "title", "bigbuckbunny.mp4"),
        ("故事", "title", "dj1.mp4"),
        ("source:real/nasa", "source", "nasa.mp4"),
    ],
)
def test_names_labels_and_titles_are_about_the_whole_video(
    engine: Engine, query: str, matched_in: str, name: str
) -> None:
    (hit,) = engine.find(query).hits
    assert (hit["name"], hit["matched_in"], hit["start_s"]) == (name, matched_in, None)
    assert hit["highlights"]


@pytest.mark.parametrize(
    ("query", "start_s", "end_s"),
    [
        ("optical segment", 0.21, 4.26),
        ('"largest cleanroom in the world"', 4.26, 8.35),
        ("said:goddard", 8.35, 12.47),
        ("NASA’s", 8.35, 12.47),
        ("observatories", 12.47, 16.57),
    ],
)
def test_subtitles_are_found_at_their_second(engine: Engine, query: str, start_s: float, end_s: float) -> None:
    found = {
        (hit["name"], hit["matched_in"], hit["start_s"], hit["end_s"]) for hit in engine.find(query, moments=True).hits
    }
    assert ("nasa.mp4", "said", pytest.approx(start_s), pytest.approx(end_s)) in [*found]
    (hit,) = engine.find(query).hits
    assert hit["name"] == "nasa.mp4"


@pytest.mark.parametrize("name", _CUTS_S)
def test_descriptions_of_scenes_are_found_where_the_scenes_begin(engine: Engine, name: str) -> None:
    hits = [hit for hit in engine.find("scene:scene", moments=True, limit=100).hits if hit["name"] == name]
    assert [hit["start_s"] for hit in hits] == [pytest.approx(start_s, abs=0.1) for start_s in _CUTS_S[name]]
    assert {hit["matched_in"] for hit in hits} == {"scene"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('description:"very dark landscape"', ["nasa.mp4"]),
        ("description:(silent landscape)", ["bikes.mp4"]),
        ("mostly description:black", ["nasa.mp4"]),
        ("description:square OR description:hd", ["bigbuckbunny.mp4", "h264_10bit.mp4"]),
    ],
)
def test_descriptions_are_found_by_their_words(engine: Engine, query: str, found: list[str]) -> None:
    hits = engine.find(query).hits
    assert names(hits) == found
    assert {hit["matched_in"] for hit in hits} <= {"description", "tag"}


def test_facets_count_what_the_clips_have(engine: Engine) -> None:
    facets = engine.find("label:animation OR resolution:hd OR language:english").facets
    assert facets["label"] == {"animation": 2, "Wissenschaft": 1, "space": 1}
    assert facets["language"] == {"English": 2}
    assert facets["resolution"] == {"SD": 3, "HD": 1}
