"""Verdicts prevail over rules and models, at once and in every later run, until they are withdrawn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.verdicts import Verdicts
from vidpipe.library.videos import NoSuchVideo
from vidpipe.operations.retention import undo_copies
from vidpipe.operations.retention.video_removal import forget
from vidpipe.runner.label_now import label_now
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.stages.contract import INGEST
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.library import sample_library
from vidpipe_tests.library.sample_library import sha256_of
from vidpipe_tests.runner import tagged_library
from vidpipe_tests.runner.tagged_library import GRAPH, LONG, SHARP, write_rules

RACE, HARBOUR = sha256_of("video-00.mp4"), sha256_of("video-01.mp4")
BOATS: dict[str, Any] = {
    "id": "boats", "scope": "scene", "selections": {"boats": {"description|word": "boats"}}, "condition": "boats",
    "tags": ["Boats"], "hold": {"count|gte": 5},
}  # fmt: skip


@pytest.fixture(scope="module")
def library(module_settings: Settings) -> Iterator[Library]:
    write_rules(module_settings, [LONG, SHARP, BOATS])
    with Library.open(module_settings, GRAPH) as opened:
        for name in tagged_library.NAMES[:2]:
            sample_library.put(opened, name)
        run(opened)
        yield opened


def plan(library: Library) -> Plan:
    return Plan.make(GRAPH, library.settings)


def run(library: Library) -> None:
    assert Runner(library, plan(library)).run().ok


def judge(library: Library, tag: str, answer: Any, video: str = RACE, **more: Any) -> Any:
    before = library.verdicts.put(video, tag, answer, "ada", **more)
    assert label_now(library, plan(library), [video])
    return before


def found(library: Library, video: str = RACE) -> dict[str, Any]:
    document = library.videos.get(video)
    assert document is not None
    return document


def tags(library: Library, video: str = RACE) -> set[str]:
    return {tag["tag"] for tag in found(library, video)["tags"]}


@pytest.fixture(autouse=True)
def _withdrawn(library: Library) -> Iterator[None]:
    yield
    for row in list(library.verdicts.find()):
        library.verdicts.put(row["video"], row["tag"], None, "", kind=row["kind"], start_s=row["start_s"])
    write_rules(library.settings, [LONG, SHARP, BOATS])
    run(library)


def test_a_verdict_survives_runs_and_edits_of_rules_and_withdrawing_it_restores_the_outcome_of_the_rules(
    library: Library,
) -> None:
    before = found(library)["tags"]
    assert tags(library) == {"Sharp"}
    assert judge(library, "sharp", "no") is None
    assert judge(library, "Rain", "yes", note="at the end") is None
    assert tags(library) == {"Rain"}
    write_rules(library.settings, [{**SHARP, "tags": ["Sharp", "Crisp"]}, {**LONG, "tags": "Rain"}, BOATS])
    run(library)
    assert tags(library) == {"Rain", "Crisp"}
    (rain,) = (tag for tag in found(library)["tags"] if tag["tag"] == "Rain")
    assert (rain["given_by"], rain["rule"]) == ("person", "verdict")
    assert rain["evidence"].startswith("ada said so on 20")
    assert rain["evidence"].endswith(": at the end")
    write_rules(library.settings, [LONG, SHARP, BOATS])
    run(library)
    assert (judge(library, "Rain", None), judge(library, "Sharp", None)) == ("yes", "no")
    assert found(library)["tags"] == before
    history = library.collections["lineage"].find({"kind": "verdict", "video": RACE, "tag": "Rain"}).sort("at", 1)
    assert [(row["change"], row["by"], row["was"]) for row in history][:2] == [
        ("verdict yes", "ada", None), ("verdict withdrawn", "ada", "yes"),
    ]  # fmt: skip


def test_a_verdict_on_a_scene_changes_the_tags_of_this_scene(library: Library) -> None:
    def spans() -> dict[str, Any]:
        return {tag["tag"]: tag["spans"] for tag in found(library, HARBOUR)["scene_tags"]}

    before = tags(library, HARBOUR)
    assert spans() == {"Boats": [[200.0, 600.0]]}
    judge(library, "Boats", "no", HARBOUR, start_s=599.0)
    judge(library, "Quiet", "yes", HARBOUR, start_s=3.0)
    assert spans() == {"Quiet": [[0.0, 200.0]]}
    assert tags(library, HARBOUR) == before, "the tags of the video are another matter"
    assert judge(library, "boats", None, HARBOUR, start_s=201.0) == "no", "any time of the scene names it"
    with pytest.raises(VidpipeError, match="no scene at 16:40"):
        library.verdicts.put(HARBOUR, "Quiet", "yes", "ada", start_s=1000.0)
    videos, generation = library.collections["videos"], found(library, HARBOUR)["scene_generation"]
    videos.update_one({"_id": HARBOUR}, {"$set": {"scene_generation": None}})
    with pytest.raises(VidpipeError, match="no scene at 0:01"):
        library.verdicts.put(HARBOUR, "Quiet", "yes", "ada", start_s=1.0)
    videos.update_one({"_id": HARBOUR}, {"$set": {"scene_generation": generation}})
    with pytest.raises(VidpipeError, match="A scene has no category"):
        library.verdicts.put(HARBOUR, "Sports", "yes", "ada", start_s=1.0, kind="category")


def test_a_verdict_on_a_scene_can_be_changed_and_withdrawn_after_the_scenes_have_been_detected_anew(
    library: Library,
) -> None:
    judge(library, "Boats", "no", HARBOUR, start_s=599.0)
    library.collections["verdicts"].update_many({}, {"$set": {"start_s": 250.0}})  # when a scene began there
    place = {"_id": f"{HARBOUR} boats\ntag\n250.0"}
    (row,) = library.collections["verdicts"].find()
    library.collections["verdicts"].delete_one({"_id": row["_id"]})
    library.collections["verdicts"].insert_one(row | place)
    assert judge(library, "Boats", "yes", HARBOUR, start_s=400.0) == "no"
    assert judge(library, "Boats", None, HARBOUR, start_s=210.0) == "yes"
    assert not list(library.verdicts.find())


def test_a_verdict_locks_or_excludes_a_category(library: Library) -> None:
    assert found(library)["category"]["category"] == "Sports"
    judge(library, "sports", "no", kind="category")
    category = found(library)["category"]
    assert (category["category"], category["candidates"]) == ("Unclassified", [])
    judge(library, "sports", "yes", kind="category", note="a race")
    category = found(library)["category"]
    assert (category["category"], category["candidates"][0][0]) == ("Sports", "Sports")
    assert category["reason"].startswith("a person chose it: ada said so on")
    judge(library, "News", "yes", kind="category")
    assert found(library)["category"]["category"] == "News", "the last one prevails"


def test_verdicts_given_at_the_same_time_are_all_in_the_facts_of_the_video(library: Library) -> None:
    names = [f"Tag {number}" for number in range(8)]
    threads = [
        threading.Thread(target=library.verdicts.put, args=(RACE, name, "yes", name))
        for name in names for _ in range(2)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    library.sources.annotate([RACE])
    for thread in threads:
        thread.join()
    facts = IngestFacts.model_validate(found(library)[INGEST])
    assert sorted(said.name for said in facts.verdicts) == names
    assert found(library)["stages"][INGEST]["data"] == GRAPH.data_versions(INGEST, facts)
    assert len(list(library.verdicts.find(video=RACE))) == len(names)


def test_a_copy_that_a_killed_process_did_not_write_is_written_later(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(library, "Rain", "yes")
    monkeypatch.setattr(Verdicts, "copy", lambda self, videos: None)
    library.verdicts.put(RACE, "Rain", None, "ada")
    library.verdicts.put(HARBOUR, "Rain", "yes", "ada")
    monkeypatch.undo()
    run(library)
    assert ("Rain" in tags(library), "Rain" in tags(library, HARBOUR)) == (True, False)
    library.verdicts.repair()
    run(library)
    assert ("Rain" in tags(library), "Rain" in tags(library, HARBOUR)) == (False, True)


def test_a_video_that_a_run_holds_stays_due(library: Library) -> None:
    with library.leases() as leases:
        assert leases.take([RACE], {"_id": 1})
        library.verdicts.put(RACE, "Rain", "yes", "ada")
        assert not label_now(library, plan(library), [RACE])
    run(library)
    assert "Rain" in tags(library)


def test_verdicts_go_with_a_forgotten_video_and_come_back_with_it(library: Library) -> None:
    judge(library, "Rain", "yes", HARBOUR, note="a secret of ada")
    forget(library, [HARBOUR], lambda _: None)
    assert list(library.verdicts.find(video=HARBOUR)) == []
    assert library.collections["lineage"].count_documents({"video": HARBOUR}) == 0
    with pytest.raises(NoSuchVideo):
        library.verdicts.put(HARBOUR, "Rain", "no", "ada")
    undo_copies.restore(library, HARBOUR, lambda _: None)
    run(library)
    assert "Rain" in tags(library, HARBOUR)
    assert judge(library, "Rain", None, HARBOUR) == "yes"
    assert "Rain" not in tags(library, HARBOUR)
