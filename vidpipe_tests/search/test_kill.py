"""Processes that write, search and build the index are killed at any moment; the next search finds what MongoDB has."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import time
from multiprocessing.process import BaseProcess

import pytest
from tantivy import Query

from vidpipe.library.annotations import Annotations
from vidpipe.library.leases import LEASE_S
from vidpipe.library.library import Library
from vidpipe.operations.retention.video_removal import forget
from vidpipe.search import catch_up
from vidpipe.search.catch_up import State
from vidpipe.search.documents import VIDEO, id_head, marked, term_path, text_path
from vidpipe.search.index import SearchIndex, rebuild
from vidpipe.settings import Settings
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.library.sample_library import GRAPH

_IDS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(40)]
_LABELS = [f"label {number}" for number in range(8)]


def _write(settings: Settings, seed: int) -> None:
    """Add, annotate and remove videos until killed."""
    chance = random.Random(seed)
    with Library.open(settings, GRAPH) as library:
        while True:
            ids = chance.sample(_IDS, chance.randint(1, 5))
            labels, title = tuple(chance.sample(_LABELS, 2)), f"title{chance.getrandbits(48)}"
            action = chance.random()
            if action < 0.4:
                facts = IngestFacts(path=ids[0], size_bytes=1, modified_ns=1, labels=labels, titles=(title,))
                library.videos.add(ids[0], facts)
            elif action < 0.9:
                said = Annotations({"labels": labels, "titles": (title,)})
                library.videos.annotate(ids, lambda: dict.fromkeys(ids, said))  # noqa: B023
            else:
                forget(library, ids[:1], lambda _: None)


def _search(settings: Settings, seed: int, settled_s: float, rebuilds: float) -> None:
    """Refresh the index, and sometimes build it, until killed."""
    catch_up._SETTLED_S, catch_up._MARK_EVERY_S = settled_s, settled_s / 12
    chance = random.Random(seed)
    with Library.open(settings, GRAPH) as library, SearchIndex.open(library) as index:
        while True:
            if chance.random() < rebuilds:
                rebuild(library)
            index.refresh()


def _differences(library: Library, index: SearchIndex) -> list[str]:
    """Compare what the index has with MongoDB."""
    searcher, schema = index.searcher, index.schema

    def videos(query: Query) -> list[str]:
        return sorted(searcher.doc(at).get_first("video") for _, at in searcher.search(query, 1000).hits)

    stored = list(library.collections["videos"].find())
    found = (
        []
        if videos(Query.term_query(schema, "kind", VIDEO, "basic")) == sorted(row["_id"] for row in stored)
        else ["ids"]
    )
    hits = [at for _, at in searcher.search(Query.term_query(schema, "kind", VIDEO, "basic"), 1000).hits]
    columns = (searcher.fast_field_values(name, hits) for name in ("id_head", "change_seq"))
    if set(zip(*columns, strict=True)) != {(id_head(row["_id"]), row["change_seq"]) for row in stored}:
        found.append("numbers")
    by_label = {name: sorted(row["_id"] for row in stored if name in row["ingest"]["labels"]) for name in _LABELS}
    found += [
        name for name, ids in by_label.items()
        if videos(Query.term_query(schema, term_path("label"), marked(name))) != ids
    ]  # fmt: skip
    for title in {title for row in stored for title in row["ingest"]["titles"]}:
        ids = sorted(row["_id"] for row in stored if title in row["ingest"]["titles"])
        titles = [Query.term_query(schema, text_path("title", language), title) for language in index.languages]
        found += [] if sorted({one for query in titles for one in videos(query)}) == ids else [title]
    return found


def _kill_repeatedly(settings: Settings, rounds: int, seed: int, settled_s: float = 2 * LEASE_S) -> None:
    chance = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with Library.open(settings, GRAPH) as library:
        for turn in range(rounds):
            # In a new index, nothing is settled for a time: mostly the same one is kept.
            rebuilds = 0.1 if turn % 10 < 2 else 0.0
            work = [(_write,), (_write,), *[(_search, settled_s, rebuilds)] * 3]
            running: list[BaseProcess] = [
                context.Process(target=one, args=(settings, chance.getrandbits(32), *more), daemon=True)
                for one, *more in work
            ]
            for process in running:
                process.start()
            time.sleep(chance.uniform(0.2, 1.2))
            for process in chance.sample(running, len(running)):
                process.kill()
                time.sleep(chance.choice((0.0, 0.01, 0.05)))
            for process in running:
                process.join()
                assert process.exitcode == -9
            with SearchIndex.open(library) as index:
                assert _differences(library, index) == [], f"round {turn} of seed {seed}"
                assert sum(one.is_dir() for one in settings.index_directory.iterdir()) <= 2


def test_the_index_survives_kills(settings: Settings) -> None:
    _kill_repeatedly(settings, rounds=4, seed=7)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_the_index_survives_many_kills(settings: Settings, seed: int) -> None:
    # No writer takes 2 s to write, so that numbers settle, too.
    _kill_repeatedly(settings, rounds=60, seed=seed, settled_s=4.0)
    assert State.load(next(one for one in settings.index_directory.iterdir() if one.is_dir())).settled > 0
