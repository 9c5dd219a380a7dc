"""Versions of datasets: immutable, numbered, complete or not there, and exported alike at any time."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from vidpipe.library.library import Library
from vidpipe.library.schema import Collections
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings, init_home
from vidpipe.sources.ingest import Ingest
from vidpipe.sources.inputs import gather
from vidpipe.stages.registry import build_graph
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.conftest import settings_of

_LABELS = {"red.mp4": "warm", "green.mp4": "cold", "blue.mp4": "cold", "white.mp4": '=1+1 <b>"_x_'}


@pytest.fixture(scope="module")
def settings(mongod_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Of a home with four labelled videos that are through all stages."""
    folder = tmp_path_factory.mktemp("clips")
    rows = ["url,labels,licence"]
    for number, (name, label) in enumerate(_LABELS.items()):
        clips.color_cuts(folder / name, (name.removesuffix(".mp4"), "black"))
        quoted = label.replace('"', '""')
        rows.append(f'{folder / name},"{quoted}",{"CC-BY-4.0" if number else ""}')
    (folder / "list.csv").write_text("\n".join(rows))
    with settings_of(tmp_path_factory.mktemp("home"), mongod_uri) as made:
        init_home(made.home)
        with Library.open(made, build_graph(made)) as library:
            Ingest(made, library.sources).run(gather([str(folder / "list.csv")]).requests)
        _run(made)
        yield made


def _run(settings: Settings) -> None:
    """Bring all videos up to date."""
    graph = build_graph(settings)
    with Library.open(settings, graph) as library, closing(Plan.make(graph, settings)) as plan:
        assert not Runner(library, plan).run().failures


@pytest.fixture(scope="module")
def vidpipe(settings: Settings, empty_history: Path) -> Command:
    shutil.copytree(empty_history, settings.home / "data" / "dagster")
    env = {"VIDPIPE_HOME": str(settings.home), "VIDPIPE_MONGODB_URI": settings.mongodb.uri.get_secret_value(),
           "VIDPIPE_MONGODB_DATABASENAME": settings.mongodb.database_name}  # fmt: skip
    return Command(settings.home, env)


@pytest.fixture(scope="module")
def collections(settings: Settings) -> Iterator[Collections]:
    with Library.open(settings, build_graph(settings)) as library:
        yield library.collections


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _name() -> str:
    return f"set-{uuid.uuid4().hex[:8]}"


def test_equal_contents_make_no_new_version(vidpipe: Command) -> None:
    name = _name()
    made = vidpipe.json("dataset", "create", name, "--all", "--split", "50/50", "--seed", "3")
    assert (made["version"], made["created"], made["statistics"]["items"]) == (1, True, 4)
    assert made["duplicates_checked"] is False
    assert any("Near-duplicates were not checked" in warning for warning in made["warnings"])
    again = vidpipe("dataset", "create", name, "--all", "--split", "50/50", "--seed", "3")
    assert f"Nothing has changed since {name}@1" in again.stderr
    assert [one["version"] for one in vidpipe.json("dataset", "list")["versions"] if one["name"] == name] == [1]


def test_videos_of_version_1_keep_their_splits_in_version_2(vidpipe: Command) -> None:
    name = _name()
    vidpipe.json("dataset", "create", name, "red.mp4", "green.mp4", "blue.mp4", "--split", "2/1", "--seed", "1")
    made = vidpipe.json("dataset", "create", name, "--all", "--split", "2/1", "--seed", "9")
    assert made["version"] == 2
    found = vidpipe.json("dataset", "diff", f"{name}@1", f"{name}@2")
    assert found["counts"] == {"added": 1, "removed": 0, "moved": 0, "labels": 0, "tags": 0, "other": 0}
    back = vidpipe.json("dataset", "diff", f"{name}@2", f"{name}@1")
    assert back["removed"] == found["added"]
    shown = vidpipe("dataset", "diff", f"{name}@1", f"{name}@2").stdout
    assert "added: 1" in shown


def test_a_version_is_exported_alike_after_rules_have_changed(
    vidpipe: Command, settings: Settings, tmp_path: Path
) -> None:
    name = _name()
    vidpipe.json("dataset", "create", name, "--all", "--split", "50/50")
    first = vidpipe.json("export", tmp_path / "first", "--format", "hf", "--dataset", name)
    assert (first["items"], first["dataset"], first["forgotten"]) == (4, f"{name}@1", 0)
    rules = vidpipe.home / "rules" / "custom_tags.json"
    before = rules.read_text()
    try:
        rules.write_text('{"rules": [{"metadata_conditions": {"duration_gt": 0}, "tags": ["Everything"]}]}')
        _run(settings)
        vidpipe.json("export", tmp_path / "second", "--format", "hf", "--dataset", f"{name}@1")
        vidpipe.json("export", tmp_path / "now", "--format", "hf")
        made = vidpipe.json("dataset", "create", name, "--all", "--split", "50/50")
    finally:
        rules.write_text(before)
        _run(settings)
    assert _contents(tmp_path / "first") == _contents(tmp_path / "second")
    assert _contents(tmp_path / "now") != _contents(tmp_path / "first")
    assert made["version"] == 2
    found = vidpipe.json("dataset", "diff", f"{name}@1", name)
    assert found["counts"]["tags"] == 4
    assert {tag for one in found["tags"] for tag in one["after"]} >= {"Everything"}


def test_the_card_is_read_as_one_and_claims_no_more_than_is_known(vidpipe: Command, tmp_path: Path) -> None:
    name = _name()
    vidpipe.json("dataset", "create", name, "--all", "--split", "50/50")
    vidpipe.json("export", tmp_path / "out", "--format", "hf", "--dataset", name)
    text = (tmp_path / "out" / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert (facts["license"], facts["size_categories"]) == ("unknown", ["n<1K"])
    assert "| unknown | 1 |" in body
    assert "| CC-BY-4.0 | 3 |" in body
    assert "Near-duplicates: not checked" in body
    assert '=1+1 &lt;b&gt;"\\_x\\_' in body
    assert "measurements" in body
    assert str(vidpipe.home) not in text


def test_clips_of_a_length_and_scenes_are_items_too(vidpipe: Command) -> None:
    by_length = vidpipe.json("dataset", "create", _name(), "red.mp4", "--length", "0.5")
    assert by_length["statistics"]["items"] == int(by_length["statistics"]["duration_s"] / 0.5)
    by_scene = vidpipe.json("dataset", "create", _name(), "red.mp4", "--scenes", "--split", "1/1")
    assert by_scene["statistics"]["items"] == 2
    assert [one["videos"] for one in by_scene["statistics"]["splits"].values()] == [1]


@pytest.mark.parametrize("arguments", [
    ("../x", "--all"), ("a@1", "--all"), ("a", "--all", "--by", "size"), ("a", "--all", "--split", "80:20"), ("a",),
    ("a", "--all", "--scenes", "--length", "3"),
])  # fmt: skip
def test_what_is_not_understood_is_a_usage_error(vidpipe: Command, arguments: tuple[str, ...]) -> None:
    assert vidpipe.json("dataset", "create", *arguments, code=2)["error"]["hint"]


def test_an_unknown_dataset_is_an_error_with_a_hint(vidpipe: Command, tmp_path: Path) -> None:
    for reference in ("nothing", "nothing@7", "no thing", "a@0"):
        assert "dataset list" in vidpipe.json("dataset", "show", reference, code=1)["error"]["hint"]
    assert vidpipe("export", tmp_path, "--format", "hf", "--dataset", "nothing").exit_code == 1
    assert vidpipe("export", tmp_path / "x.csv", "--format", "csv", "--dataset", "nothing").exit_code == 2


def test_a_forgotten_video_is_left_out_of_versions_and_removed_from_exported_folders(
    vidpipe: Command, collections: Collections, tmp_path: Path
) -> None:
    name, out = _name(), tmp_path / "out"
    vidpipe.json("dataset", "create", name, "--all", "--split", "50/50")
    vidpipe.json("export", out, "--format", "hf", "--dataset", name)
    (video,) = (row["_id"] for row in collections["videos"].find({"ingest.names": "white.mp4"}))
    forgotten = vidpipe.json("forget", "white.mp4", "--yes")["videos"][0]
    assert forgotten["removed"]["dataset_items"] >= 1
    assert forgotten["elsewhere"]["exports"].count(str(out)) == 1
    assert not any(video[:16] in path or video[:16].encode() in content for path, content in _contents(out).items())
    assert len(list(out.glob("*/*.mp4"))) == 3
    assert vidpipe.json("dataset", "show", name)["items_left"] == 3
    again = vidpipe.json("export", tmp_path / "again", "--format", "hf", "--dataset", name)
    assert (again["items"], again["forgotten"]) == (3, 1)
    assert "| all | 3 | 3 |" in (tmp_path / "again" / "README.md").read_text()
    vidpipe.json("forget", "--undo", video)
    restored = vidpipe.json("export", tmp_path / "again", "--format", "hf", "--dataset", name)
    assert (restored["items"], restored["forgotten"]) == (4, 0)
