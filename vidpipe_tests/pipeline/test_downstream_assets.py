"""The example of docs/dagster.md works as it is printed there: assets of a downstream project take stages' results."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import dagster as dg
import pytest

from vidpipe.dagster_mongo import MissingValueError
from vidpipe.library.library import Library
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.ingest import run_ingest
from vidpipe.settings import Settings
from vidpipe.stages.results import Descriptions, Scenes, Tags
from vidpipe_tests import clips
from vidpipe_tests.default_graph import GRAPH

TEXT = (Path(__file__).parents[2] / "docs" / "dagster.md").read_text(encoding="utf-8")


def test_the_example_takes_tags_and_scenes_of_a_partition(
    settings: Settings, dagster: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMS_URI", settings.mongodb.uri.get_secret_value())
    database = f"test_{uuid.uuid4().hex[:16]}"
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(code.replace('database="films"', f'database="{database}"'), "example.py", "exec"), names)  # noqa: S102
    defs = names["defs"]
    assert isinstance(defs, dg.Definitions)
    assert sum(isinstance(value, dg.Definitions) for value in names.values()) == 1, "Dagster loads no such module"

    with Library.open(settings, GRAPH) as library:
        inputs = [clips.color_cuts(tmp_path / f"{n}.mp4", ["red", "blue"], seconds_each=n) for n in (1, 2)]
        one, two = (outcome.video for outcome in run_ingest(settings, [str(path) for path in inputs], library=library))
        assert one is not None
        assert two is not None
        assert run_process(settings, library=library).ok
        scenes = defs.load_asset_value("scenes", partition_key=one, instance=dagster)
        assert isinstance(scenes, Scenes)
        assert [scene.index for scene in scenes.scenes] == list(range(scenes.count))
        described = defs.load_asset_value("descriptions", partition_key=one, instance=dagster)
        assert isinstance(described, Descriptions)
        assert len(described.scenes) == scenes.count
        tags = defs.load_asset_value("tags", partition_key=one, instance=dagster)
        assert isinstance(tags, Tags)

        job = defs.resolve_implicit_global_asset_job_def()
        try:
            job.execute_in_process(instance=dagster, partition_key=one, asset_selection=[dg.AssetKey("shot_list")])
            job.execute_in_process(instance=dagster, asset_selection=[dg.AssetKey("tag_counts")])
            shots = defs.load_asset_value("shot_list", partition_key=one, instance=dagster)
            assert shots["starts"] == [scene.start_s for scene in scenes.scenes]
            counts = defs.load_asset_value("tag_counts", instance=dagster)
            assert counts[shots["tags"][0]] in (1, 2)
            dagster.add_dynamic_partitions("videos", ["ab" * 32])
            with pytest.raises(MissingValueError, match=f"partition {'ab' * 32} of the asset tags"):
                defs.load_asset_value("tags", partition_key="ab" * 32, instance=dagster)
        finally:
            library.connection.client.drop_database(database)
