"""Videos found by meaning: embeddings in a real index, made of letters that texts have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

import pytest
from pydantic import BaseModel
from usearch.index import Index

from vidpipe.cli.search_view import show_hits
from vidpipe.errors import UnavailableError
from vidpipe.library.changes import Changes
from vidpipe.library.library import Library
from vidpipe.operations.retention.video_removal import forget
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.search import vectors
from vidpipe.search.engine import Engine, SearchPage
from vidpipe.search.index import SearchIndex, rebuild
from vidpipe.search.query import QueryError
from vidpipe.settings import Settings
from vidpipe.stages.contract import Item, Outcome, Stage, StageContext, StageResult
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.search_fields import Embedding, SearchField
from vidpipe_tests.library import sample_library
from vidpipe_tests.library.sample_library import CONTENTS, GRAPH, sha256_of

HARBOUR, RACE, HOSTILE = map(sha256_of, CONTENTS)
#: Set by tests: what loading the model raises; of which size its vectors are.
MODEL: dict[str, Any] = {}


def encode(text: str, settings: Settings | None = None) -> list[float]:
    """Return the frequencies of the text's sequences of three letters, hashed."""
    if "error" in MODEL:
        raise MODEL["error"]
    vector = [0.0] * MODEL.get("size", 256)
    for word in text.lower().replace(".", "").split():
        for place in range(len(word) - 2):
            vector[crc32(word[place : place + 3].encode()) % len(vector)] += 1
    return vector


class Part(BaseModel):
    vector: tuple[float, ...]
    start_s: float | None = None
    end_s: float | None = None


class Look(StageResult):
    parts: tuple[Part, ...]
    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField(
            "look", "vector", lambda result: (Embedding(**part) for part in result["parts"]), "What it looks like.",
            encode=encode, min_similarity=0.35,
        ),
    )  # fmt: skip


def _look(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    for item in items:
        scenes = sample_library._known(item["ingest.names"][0])["scenes"]
        parts = (Part(vector=tuple(encode(text)), start_s=start, end_s=end) for start, end, text in scenes)
        yield Outcome(item.sha256, Look(parts=tuple(parts)))


LOOKING = StageGraph(
    (
        *GRAPH,
        Stage(name="look", job="label", description="look", result=Look, function=_look,
              reads=("ingest.names", "descriptions.text"), batch_size=16),
    )
)  # fmt: skip


def fill(library: Library, *names: str) -> None:
    for name in names or CONTENTS:
        sample_library.put(library, name)
    Runner(library, Plan.make(LOOKING, library.settings)).run()


@pytest.fixture(autouse=True)
def _model() -> None:
    MODEL.clear()


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, LOOKING) as opened:
        fill(opened)
        yield opened


def engine_of(library: Library) -> Engine:
    return Engine(library, Plan.make(LOOKING, library.settings).specs, SearchIndex.open(library))


def found(page: SearchPage) -> list[str]:
    return [hit["video"] for hit in page.hits]


def file_of(library: Library) -> Path:
    (file,) = library.settings.index_directory.glob("*/embedding.look.*.usearch")
    return file


def in_file(file: Path) -> int:
    return len(Index.restore(str(file), view=True))


def store(library: Library, name: str, monkeypatch: pytest.MonkeyPatch, *descriptions: str) -> str:
    """Add a video with a scene of 10 seconds for each description."""
    scenes = [(10.0 * number, 10.0 * number + 10, text) for number, text in enumerate(descriptions)]
    monkeypatch.setitem(CONTENTS, name, CONTENTS["race.mkv"] | {"scenes": scenes, "text": " ".join(descriptions)})
    fill(library, name)
    return sha256_of(name)


def test_a_video_is_found_by_its_meaning_at_its_second(library: Library) -> None:
    engine = engine_of(library)
    (hit,) = engine.find("lighthousekeeper").hits
    assert (hit["video"], hit["matched_in"], hit["start_s"], hit["end_s"]) == (HARBOUR, "look", 0.0, 200.0)
    assert (hit["text"], hit["highlights"]) == (None, [])
    assert engine.find("fishingboatsman").hits[0]["start_s"] == 200.0
    assert engine.find("xylophone").total == 0
    assert engine.find("日本").total == 0  # without a direction


def test_such_a_hit_is_shown_without_words(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    for moments in (False, True):
        show_hits(engine_of(library).find("fishingboatsman", moments=moments).hits, moments=moments)
        assert "3:20  look  similar in meaning" in capsys.readouterr().out


def test_where_words_match_they_are_shown(library: Library) -> None:
    (hit,) = engine_of(library).find("lighthouse").hits
    assert (hit["video"], hit["matched_in"], hit["start_s"]) == (HARBOUR, "scene", 0.0)
    assert "lighthouse" in hit["text"]


def test_words_come_first_and_meaning_only_where_they_are_found_nowhere(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = store(library, "words.mp4", monkeypatch, "A walrus " + "beside many other things altogether " * 5)
    meaning = store(library, "meaning.mp4", monkeypatch, "Walrusses beside a blue lake, in summer")
    engine = engine_of(library)
    page = engine.find("walrus")
    assert (found(page), page.matched, page.total, page.notes) == ([words], "all", 1, [])
    assert (found(engine.find("walrus xylophone")), found(engine.find("walrus", ["blue"]))) == ([words], [meaning])
    page = engine.find("walrusish")
    assert (page.matched, found(page)[0]) == ("meaning", meaning)
    assert page.notes == ["No video contains these words; these are similar in meaning."]
    assert page.facets["codec"] == {"hevc": page.total}


def test_what_is_far_behind_the_nearest_one_is_left_out(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    near = store(library, "near.mp4", monkeypatch, "Walrusses")
    half = store(library, "half.mp4", monkeypatch, "Walrusses near a ship")
    far = store(library, "far.mp4", monkeypatch, "Walrusses " + "beside many other things altogether " * 3)
    engine = engine_of(library)
    assert found(engine.find("walrusses", meaning=True)) == [near, half]
    assert found(engine.find(like=half)) == [near]
    assert far in found(engine.find("walrusses"))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("lighthousekeeper duration:>60", [HARBOUR]),
        ("lighthousekeeper duration:<60", []),
        ("lighthousekeeper -tag:night-time", []),
        ("lighthousekeeper -boats", []),
        ("lighthousekeeper -car", [HARBOUR]),
        ("lighthousekeeper description:boats", [HARBOUR]),
        ("lighthousekeeper description:car", []),
        ("lighthousekeeper scene:lighthousekeeper", []),
        ("lighthousekeeper boa*", [HARBOUR]),
        ("lighthousekeeper zebra*", []),
        ("lighthousekeeper OR category:sports", [RACE]),
        ("(lighthousekeeper OR zebra) category:documentary", [HARBOUR]),
        ("(lighthousekeeper OR zebra) category:sports", []),
        ("lighthousekeeper state:failed", []),
        ("-lighthousekeeper category:sports", [RACE]),
        ("scene:lighthousekeeper", []),
    ],
)
def test_everything_else_must_hold(library: Library, query: str, expected: list[str]) -> None:
    page = engine_of(library).find(query)
    assert (sorted(found(page)), page.total) == (sorted(expected), len(expected))
    assert sum(page.facets["category"].values()) == len(expected)


def test_filters_hold_and_selections_are_by_words(library: Library) -> None:
    engine = engine_of(library)
    assert found(engine.find("lighthousekeeper", ["category:sports"])) == []
    assert found(engine.find("lighthousekeeper", ["boats"])) == [HARBOUR]
    assert engine.find("", ["lighthousekeeper"]).total == 0
    assert engine.ids("lighthousekeeper") == []
    for order in ("date", "duration", "name"):
        assert engine.find("lighthousekeeper", order=order).total == 0  # type: ignore[arg-type]


def test_similar_moments_are_listed(library: Library) -> None:
    page = engine_of(library).find("lighthousekeeper", moments=True)
    assert [(hit["video"], hit["matched_in"], hit["start_s"]) for hit in page.hits] == [(HARBOUR, "look", 0.0)]
    assert [hit["matched_in"] for hit in engine_of(library).find("lighthouse", moments=True).hits] == ["scene"]


def test_deleted_and_changed_videos_are_followed(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    index = SearchIndex.open(library)
    engine = Engine(library, {}, index)
    walrus = store(library, "walrus.mp4", monkeypatch, "Walrusses.")
    assert engine.find("walrusish").total == 0
    index.refresh()
    assert found(engine.find("walrusish")) == [walrus]
    assert in_file(file_of(library)) == 5

    part = Part(vector=tuple(encode("Penguins.")), start_s=3.0, end_s=4.0)
    changed = {"look.parts": [part.model_dump()], "change_seq": Changes(library.collections).take()[0]}
    library.collections["videos"].update_one({"_id": walrus}, {"$set": changed})
    index.refresh()
    assert engine.find("walrusish").total == 0
    (hit,) = engine.find("penguinish").hits
    assert (hit["video"], hit["start_s"]) == (walrus, 3.0)

    forget(library, [HARBOUR], lambda _: None)
    index.refresh()
    assert engine.find("lighthousekeeper").total == 0
    assert in_file(file_of(library)) == 3


def _nothing(file: Path) -> None:
    file.unlink()


def _truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _damaged(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-600:-300] = os.urandom(300)
    file.write_bytes(content)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [_nothing, _truncated, _empty, _damaged, _folder])
def test_a_file_that_cannot_be_used_is_made_again(library: Library, damage: Any) -> None:
    before = found(engine_of(library).find("lighthousekeeper"))
    file = file_of(library)
    damage(file)
    assert found(engine_of(library).find("lighthousekeeper")) == before == [HARBOUR]
    if damage is not _folder:  # it stays in the way; the index is kept in memory
        assert in_file(file) == 4
        stamp = file.stat().st_mtime_ns
        engine_of(library).find("lighthousekeeper")
        assert file.stat().st_mtime_ns == stamp


def test_a_file_older_than_the_index_is_completed(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process was killed between tantivy's commit and the file, or wrote an older one over it."""
    engine_of(library).find("lighthousekeeper")
    file = file_of(library)
    old = file.read_bytes()
    (file.parent / f".{file.name}.1.new").write_bytes(old[:100])
    walrus = store(library, "walrus.mp4", monkeypatch, "Walrusses.")
    forget(library, [RACE], lambda _: None)
    assert found(engine_of(library).find("walrusish")) == [walrus]
    assert (in_file(file), list(file.parent.glob(f".{file.name}.*"))) == (4, [])
    file.write_bytes(old)
    engine = engine_of(library)
    assert found(engine.find("walrusish")) == [walrus]
    assert found(engine.find("lighthousekeeper")) == [HARBOUR]
    assert in_file(file) == 4
    rebuild(library)
    assert found(engine_of(library).find("walrusish")) == [walrus]


def test_another_process_may_hold_the_lock(library: Library) -> None:
    index = SearchIndex.open(library)
    with index.changing():
        other = SearchIndex.open(library)
        assert found(Engine(library, {}, other).find("lighthousekeeper")) == [HARBOUR]
        assert list(library.settings.index_directory.glob("*/*.usearch")) == []
    assert found(Engine(library, {}, index).find("lighthousekeeper")) == [HARBOUR]
    assert in_file(file_of(library)) == 4


def test_without_its_model_words_are_found_and_a_note_says_so(library: Library) -> None:
    MODEL["error"] = UnavailableError("The model look-1 is not installed.", "Install it.")
    engine = engine_of(library)
    assert found(engine.find("lighthouse")) == [HARBOUR]
    page = engine.find("lighthousekeeper")
    assert page.total == 0
    assert page.notes == [
        "Only words were compared, not their meaning (look): The model look-1 is not installed. Install it."
    ]
    assert engine.find("").notes == engine.find("category:sports").notes == []


def test_vectors_that_cannot_be_compared_are_left_out(
    library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = [[float("nan")] * 256, [0.0] * 256, [], [float("inf")] * 256, [1e308] * 256, [1.0, 2.0]]
    library.collections["videos"].update_one(
        {"_id": RACE}, {"$set": {"look.parts": [{"vector": vector} for vector in wrong]}}
    )
    engine = engine_of(library)
    assert caplog.text.count("is not searched by look") == 4
    assert found(engine.find("lighthousekeeper")) == [HARBOUR]
    assert "1 embeddings (embedding.look.2) cannot be compared with queries (embedding.look.256)" in caplog.text
    assert in_file(file_of(library)) == 4
    MODEL["size"] = 128
    assert engine.find("lighthousekeeper").total == 0


def test_pages_are_complete(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "MOST_SIMILAR", 10)
    monkeypatch.setattr(vectors, "_NEAREST", 20)
    with Library.open(settings, LOOKING) as library:
        for number in range(30):
            name, text = f"{number}.mp4", "Walrusses " + "abc " * (number % 3)
            monkeypatch.setitem(CONTENTS, name, CONTENTS["race.mkv"] | {"scenes": [(0.0, 9.0, text)], "text": text})
            sample_library.put(library, name)
        Runner(library, Plan.make(LOOKING, settings)).run()
        engine = engine_of(library)
        whole = found(engine.find("walrusish", limit=0))
        for limit in (1, 7, 50):
            paged, after = [], None
            while True:
                page = engine.find("walrusish", limit=limit, after=after)
                assert page.total == len(whole) == 10
                paged += found(page)
                after = page.next
                if after is None:
                    break
            assert paged == whole
        assert len(set(whole)) == 10
        assert found(engine.find("walrusish", limit=5, offset=3)) == whole[3:8]


def test_nothing_else_counts_embeddings(library: Library) -> None:
    status = SearchIndex.open(library).status()
    assert (status.videos, status.moments, status.behind) == (3, 5, 0)
    engine = engine_of(library)
    assert engine.find("").total == 3
    assert engine.find("", moments=True, limit=0).total == 3
    assert len(engine.find("", moments=True, limit=0).hits) == 5
    assert engine.ids() == sorted([HARBOUR, RACE, HOSTILE])


def test_a_vector_field_has_no_text_form(library: Library) -> None:
    with pytest.raises(QueryError, match="look"):
        engine_of(library).find("look:lighthouse")


def test_without_vector_fields_nothing_is_loaded_or_written(settings: Settings) -> None:
    with Library.open(settings, GRAPH) as library:
        sample_library.fill(library)
        engine = Engine(library, {}, SearchIndex.open(library))
        assert engine.find("lighthousekeeper").total == 0
        assert engine.find("lighthouse").hits[0]["score"] > 1  # BM25
        assert list(settings.index_directory.glob("*/*.usearch")) == []
    code = "import sys, vidpipe.search.engine; print({'usearch', 'numpy'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "set()"
