"""The labels and labelled parts that lists state of a video."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vidpipe.library.library import Library
from vidpipe.library.queries.show import view
from vidpipe.library.sources import ListedSources
from vidpipe.settings import Settings
from vidpipe.sources.records import ListedSource
from vidpipe.sources.source_data import Segment
from vidpipe_tests.library import sample_library


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, sample_library.GRAPH) as opened:
        yield opened


def stated(library: Library, sha256: str) -> dict[str, tuple[list[str], list[Segment]]]:
    """The labels and parts of each source with any, by URL."""
    sources = view(library, sha256, {})["sources"]
    found = {one["url"]: (list(one["labels"]), [Segment(**part) for part in one["segments"]]) for one in sources}
    return {url: said for url, said in found.items() if any(said)}


def test_the_parts_of_all_sources_of_a_video_and_its_labels(library: Library) -> None:
    sample_library.fill(library)
    sha256 = sample_library.sha256_of("harbour.mp4")
    listed = ListedSources(library.collections, library.sources)
    (known,) = library.collections["sources"].find({"video": sha256})
    late, early = Segment(start_s=5, labels=("boat",)), Segment(start_s=1, end_s=2, labels=("gull", "sea"))
    before = stated(library, sha256)
    document = library.collections["videos"].find_one({"_id": sha256}, {"stages": 1})
    listed.save_many("v.csv", [ListedSource(known["_id"], known["url"], segments=(late, early))])
    other = ListedSource("f" * 32, "https://h.example/same.mp4", segments=(late,))
    listed.save_many("v.csv", [other])
    library.collections["sources"].update_one({"_id": other.id}, {"$set": {"video": sha256, "state": "stored"}})
    assert not any(parts for _, parts in before.values())
    assert stated(library, sha256) == {known["url"]: ([], [late, early]), other.url: ([], [late])}
    assert library.collections["videos"].find_one({"_id": sha256}, {"stages": 1}) == document, "no stage is due"
    listed.save_many("v.csv", [ListedSource(known["_id"], known["url"], labels=("port",))])
    assert stated(library, sha256)[known["url"]][0] == ["port"]
    listed.drop("v.csv", [known["_id"], other.id])
    assert not any(parts for _, parts in stated(library, sha256).values())
