"""Backups: the same library comes out of them, whatever ran while they were made, read or interrupted."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from vidpipe.errors import UnavailableError
from vidpipe.library.api_keys import ApiKeys
from vidpipe.library.connection import connect
from vidpipe.library.library import Library
from vidpipe.operations.backups import manifest as manifests
from vidpipe.operations.backups.backup import back_up
from vidpipe.operations.backups.file_transfer import restore_home_files
from vidpipe.operations.backups.manifest import BackupCancelled, BackupError, ProgressMonitor
from vidpipe.operations.backups.restore import NotEmptyError
from vidpipe.runner.request import RunRequest
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings, init_home
from vidpipe.settings.schema import Paths, Rules
from vidpipe.tagging.rule_files import APPLIED
from vidpipe_tests.library.sample_library import CONTENTS, GRAPH, fill, plan_of, put, sha256_of
from vidpipe_tests.operations.backups.backup_round_trip import backed_up, documents, everything, restored, shown


def test_the_library_comes_back_under_other_names_with_its_indexes_and_nothing_is_due(
    library: Library, target: Settings, backups: Path
) -> None:
    library.collections["searches"].insert_one({"_id": "changes", "query": "harbour"})
    library.collections["datasets"].insert_one({"_id": "set@1", "name": "set", "version": 1, "items_id": "a"})
    library.collections["dataset_items"].insert_one({"dataset": "a", "position": 0, "json": b"x"})
    library.verdicts.put(sha256_of("race.mkv"), "Fast", "no", "ada")
    before = everything(library)
    library.collections["videos"].update_one(
        {"_id": sha256_of("race.mkv")}, {"$set": {"lease": {"owner": "elsewhere|1|2|x"}}}
    )
    done = backed_up(library, backups)
    assert done.manifest.videos == len(CONTENTS)
    assert len(restored(target, backups).videos) == len(CONTENTS)
    with Library.open(target, GRAPH) as again:
        assert everything(again) == before, "leases are of processes, not of the library"
        assert shown(again) == shown(library)
        assert len(again.states.due(plan_of(again).specs)) == 0
        for name, collection in library.collections.items():
            assert again.collections[name].index_information().keys() == collection.index_information().keys()


def test_keys_are_in_no_backup_and_survive_a_restore(library: Library, backups: Path) -> None:
    keys = ApiKeys(library.collections)
    key, secret = keys.create("reader", "read")
    session = keys.sign_in(key)
    folder = backed_up(library, backups).path
    assert not [path for path in folder.rglob("*") if "keys" in path.name or "sessions" in path.name]
    done = restored(library.settings, backups, replace=True)
    assert not {"keys", "sessions"} & done.replaced.keys()
    with Library.open(library.settings, GRAPH) as again:
        assert ApiKeys(again.collections).of_secret(secret) is not None
        assert ApiKeys(again.collections).of_session(session) is not None
        assert again.collections["keys"].count_documents({}) == 1
        left = again.connection.database.list_collection_names()
        assert not [name for name in left if "_restore_" in name]


def test_mongorestore_could_read_it(library: Library, backups: Path) -> None:
    """mongodump's directory format: BSON one after another, and the indexes as extended JSON."""
    folder = backed_up(library, backups).path
    dump = folder / "dump" / library.settings.mongodb.database_name
    assert {row["_id"] for row in documents(dump / "videos.bson.gz")} == {sha256_of(name) for name in CONTENTS}
    for file in dump.glob("*.bson.gz"):
        said = json.loads(gzip.decompress(file.with_name(file.name.replace(".bson.", ".metadata.json.")).read_bytes()))
        assert said["collectionName"] == file.name.removesuffix(".bson.gz")
        assert said["type"] == "collection"
    indexes = json.loads(gzip.decompress((dump / "videos.metadata.json.gz").read_bytes()))["indexes"]
    (latest,) = (index for index in indexes if index["name"] == "latest")
    assert latest["key"] == {"added_at": {"$numberInt": "-1"}, "_id": {"$numberInt": "1"}}


def test_while_a_run_writes_each_video_has_exactly_the_scenes_that_its_document_names(
    library: Library, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:03d}.mp4" for number in range(150)]
    for name in names:
        monkeypatch.setitem(CONTENTS, name, dict(CONTENTS["harbour.mp4"]))
        put(library, name)
    ended = threading.Event()

    def change_scenes_again_and_again() -> None:
        with Library.open(library.settings, GRAPH) as writing:
            for turn in range(1000):
                if ended.is_set():
                    return
                for name in names:  # other scenes each time: one more, with another text
                    scenes = [(float(n), n + 1.0, f"Scene {n} of turn {turn}.") for n in range(2 + turn % 3)]
                    CONTENTS[name]["scenes"] = scenes
                plan = plan_of(writing)
                force = frozenset({"scenes", "descriptions"})
                Runner(writing, plan).run(RunRequest(force=force, check_files=False))

    run = threading.Thread(target=change_scenes_again_and_again)
    run.start()
    try:
        done = [backed_up(library, backups / str(number)).path for number in range(4)]
    finally:
        ended.set()
        run.join()
    for folder in done:
        dump = folder / "dump" / library.settings.mongodb.database_name
        videos = {row["_id"]: row for row in documents(dump / "videos.bson.gz")}
        scenes = documents(dump / "videos_scenes.bson.gz")
        assert len(videos) == len(CONTENTS)
        found = Counter(row["video"] for row in scenes)
        for row in scenes:
            assert row["generation"] == videos[row["video"]]["scene_generation"]
        for sha256, video in videos.items():
            summary = video.get("scenes") or video.get("scene_summary") or {"count": 0}
            assert found[sha256] == summary["count"]
        assert {row["video"] for row in documents(dump / "videos_sources.bson.gz")} <= videos.keys()


def test_a_library_that_is_there_is_replaced_only_when_asked_and_as_a_whole(
    library: Library, target: Settings, backups: Path
) -> None:
    backed_up(library, backups)
    with Library.open(target, GRAPH) as there:
        fill(there, "broken.mp4", "race.mkv")
        before = everything(there)
        with pytest.raises(NotEmptyError, match=r"2 videos.*--replace"):
            restored(target, backups)
        assert everything(there) == before
        done = restored(target, backups, replace=True)
        assert done.replaced["videos"] == 2
        assert everything(there) == everything(library)


def test_the_counter_of_changes_is_not_in_a_back_up_and_starts_anew_above_all_restored_numbers(
    library: Library, target: Settings, backups: Path
) -> None:
    folder = backed_up(library, backups).path
    dumped = documents(folder / "dump" / library.settings.mongodb.database_name / "videos_meta.bson.gz")
    assert {row["_id"] for row in dumped} == {"schema"}
    with Library.open(target, GRAPH) as there:
        epochs = {library.changes.state().epoch, there.changes.state().epoch}
        restored(target, backups)
        assert there.changes.state().epoch not in epochs
        (number,) = there.changes.take()
        assert number > max(row["change_seq"] for row in everything(there)["videos"])


def test_the_search_index_of_a_home_is_not_in_a_back_up(library: Library, backups: Path) -> None:
    index = library.settings.data_directory / "index" / "1" / "meta.json"
    index.parent.mkdir(parents=True)
    index.write_text("{}")
    made = backed_up(library, backups, media=True, derived=True).path
    assert not [path for path in made.rglob("*") if "index" in path.name]


def test_a_run_that_is_at_work_is_not_disturbed(library: Library, backups: Path) -> None:
    backed_up(library, backups)
    with library.leases() as leases:
        leases.take([sha256_of("race.mkv")], {"_id": 1})
        with pytest.raises(UnavailableError, match=f"A run is working on the library: process {os.getpid()}"):
            restored(library.settings, backups, replace=True)


@pytest.mark.parametrize("harm", ["cut off", "changed", "gone", "manifest cut off", "manifest without hashes"])
def test_a_back_up_that_is_not_as_it_was_written_is_refused_with_a_sentence(
    library: Library, target: Settings, backups: Path, harm: str
) -> None:
    folder = backed_up(library, backups).path
    file = next(folder.glob("dump/*/videos_scenes.bson.gz"))
    content = file.read_bytes()
    manifest = folder / manifests.NAME
    match harm:
        case "cut off":
            file.write_bytes(content[:-20])
        case "changed":
            file.write_bytes(content[:30] + bytes([content[30] ^ 1]) + content[31:])
        case "gone":
            file.unlink()
        case "manifest cut off":
            file = manifest
            manifest.write_text(manifest.read_text()[:-200])
        case _:
            plain = json.loads(manifest.read_text())
            plain["parts"] = {name: part for name, part in plain["parts"].items() if "scenes.bson" not in name}
            manifest.write_text(json.dumps(plain))
    with pytest.raises(BackupError, match=file.name.replace(".", r"\.")) as caught:
        restored(target, backups)
    assert caught.value.hint
    with connect(target) as connection:
        assert connection.database.list_collection_names() == []


def test_a_newer_schema_and_a_manifest_that_leads_elsewhere_are_refused(
    library: Library, target: Settings, backups: Path
) -> None:
    folder = backed_up(library, backups).path
    plain = json.loads((folder / manifests.NAME).read_text())
    (folder / manifests.NAME).write_text(json.dumps({**plain, "schema_version": 99}))
    with pytest.raises(BackupError, match="schema version 99"):
        restored(target, backups)
    (folder / manifests.NAME).write_text(json.dumps({**plain, "settings": ["../../elsewhere"]}))
    with pytest.raises(BackupError, match="leads out of the folder"):
        manifests.read(backups)


def test_no_secret_is_in_a_back_up(library: Library, backups: Path) -> None:
    home = init_home(library.settings.home).home
    (home / "config.local.ini").write_text("[QwenVL]\nAccessKey = s3cret\n")
    (home / "data" / "urls.txt").write_text(
        "# a comment\nhttps://videos.example/a.mp4 priority=5\nhttps://me:s3cret@videos.example/b.mp4\n"
        "https://videos.example/c.mp4?token=s3cret&x=1\nhttps://me:${VIDPIPE_SOURCE_PASSWORD}@videos.example/d.mp4\n"
    )
    (home / "data" / "more.csv").write_text("url,title\nhttps://videos.example/e.mp4?sig=s3cret,E\nf.mp4,F\n")
    settings = library.settings.model_copy(update={"paths": Paths(source_lists=("data/urls.txt", "data/more.csv"))})
    done = back_up(library.connection, settings, GRAPH, backups)
    for file in done.path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"s3cret" not in (gzip.decompress(content) if file.suffix == ".gz" else content), file
    assert {"config.ini", "rules/custom_tags.json", "data/urls.txt", "data/more.csv"} <= set(done.manifest.settings)
    kept = (done.path / "settings" / "data" / "urls.txt").read_text().splitlines()
    assert kept[1] == "https://videos.example/a.mp4 priority=5"
    assert kept[4] == "https://me:${VIDPIPE_SOURCE_PASSWORD}@videos.example/d.mp4"
    assert all(line.startswith("# left out of the backup, contains a secret: https://") for line in kept[2:4])
    assert (done.path / "settings" / "data" / "more.csv").read_text() == "url,title\nf.mp4,F\n"
    assert any("data/urls.txt: 2 lines are left out" in note for note in done.manifest.notes)


def test_prompts_questions_and_a_vocabulary_are_in_a_back_up_wherever_the_home_keeps_them(
    library: Library, backups: Path
) -> None:
    home = init_home(library.settings.home).home
    (home / "house").mkdir()
    (home / "house" / "tags.j2").write_text("Tags?")
    (home / "words.json").write_text('["Owl"]')
    rules = Rules(prompts=Path("house"), tag_vocabulary="words.json")
    done = back_up(library.connection, library.settings.model_copy(update={"rules": rules}), GRAPH, backups)
    assert {"rules/prompts/context.j2", "rules/questions.json", "house/tags.j2", "words.json"} <= set(
        done.manifest.settings
    )


def test_settings_come_back_and_what_was_there_is_kept_beside(library: Library, backups: Path) -> None:
    home = init_home(library.settings.home).home
    rules = home / "rules" / "custom_tags.json"
    ours = rules.read_text()
    scenes = home / "rules" / "scenes.yaml"
    applied = library.settings.data_directory / APPLIED
    applied.parent.mkdir(parents=True)
    applied.write_text("{}")
    done = backed_up(library, backups)
    assert {"rules/scenes.yaml", "rules/vocabulary.yaml", "data/rules/applied.json"} <= set(done.manifest.settings)
    rules.write_text("{}")
    scenes.unlink()
    applied.unlink()
    more = home / "rules" / "more.yaml"
    more.write_text("rules: []\n")
    came_back = ["data/rules/applied.json", "rules/custom_tags.json", "rules/more.yaml", "rules/scenes.yaml"]
    assert sorted(restore_home_files(library.settings, done.path, done.manifest.settings)) == came_back
    assert rules.read_text() == ours
    assert (home / "rules" / "custom_tags.json.bak").read_text() == "{}"
    assert scenes.is_file()
    assert [path.name for path in rules.parent.glob("more*")] == ["more.yaml.bak"], "it was in no rules of the backup"


def test_so_many_are_kept_and_the_latest_is_restored(library: Library, backups: Path) -> None:
    made = [backed_up(library, backups, keep=2).path for _ in range(4)]
    assert manifests.whole_backups(backups) == made[-2:]
    assert manifests.read(backups)[0] == made[-1]
    assert sorted(path.name for path in backups.iterdir() if path.is_dir()) == [path.name for path in made[-2:]]


def test_one_that_is_stopped_leaves_nothing_that_looks_like_a_back_up(library: Library, backups: Path) -> None:
    monitor = ProgressMonitor()

    def stop_at_lineage(part: str, done: int, total: int | None) -> None:
        if part == "lineage":
            monitor.cancelled.set()

    with pytest.raises(BackupCancelled):
        backed_up(library, backups, monitor=replace(monitor, progress=stop_at_lineage))
    assert [path for path in backups.iterdir() if path.is_dir()] == []
    with pytest.raises(BackupError, match="none"):
        manifests.read(backups)


def test_nothing_to_back_up_is_said(settings: Settings, backups: Path) -> None:
    with connect(settings) as connection, pytest.raises(UnavailableError, match="There is no library"):
        back_up(connection, settings, GRAPH, backups)


def test_two_back_ups_into_one_folder_do_not_mix(library: Library, backups: Path) -> None:
    def another(part: str, done: int, total: int | None) -> None:
        with pytest.raises(BackupError, match="Another vidpipe is backing up"):
            backed_up(library, backups)

    backed_up(library, backups, monitor=ProgressMonitor(another))
    assert len(manifests.whole_backups(backups)) == 1
