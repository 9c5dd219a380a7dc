"""The resources that Dagster's page shows: replaceable in Definitions, not by a run, and without secrets at import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from vidpipe.dagster_mongo import MongoDBResource
from vidpipe.library.library import Library
from vidpipe.pipeline.build import build_definitions
from vidpipe.pipeline.resources import DescribingModelResource, LibraryMongoDB
from vidpipe.settings import Settings, load
from vidpipe_tests.pipeline.test_gpu import GRAPH as GPU_GRAPH
from vidpipe_tests.runner.small_graph import GRAPH, calls

Add = Callable[..., list[str]]
ROOT = Path(__file__).parents[2]


def test_model_store_and_database_are_configurable_resources(settings: Settings) -> None:
    resources = build_definitions(GRAPH, settings).resources or {}
    for key in ("mongodb", "media_store", "describing_model"):
        assert isinstance(resources[key], dg.ConfigurableResource)


def test_resources_give_what_the_settings_of_the_home_say(settings: Settings, library: Library) -> None:
    with LibraryMongoDB(home=str(settings.home)).get_database() as database:
        assert database.name == settings.mongodb.database_name
        assert "videos_meta" in database.list_collection_names()
    with DescribingModelResource(home=str(settings.home), backend="statistics").get_model() as model:
        assert model.measured


def test_a_database_given_to_the_definitions_is_the_one_that_runs_use(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = add("good")
    monkeypatch.setenv("OTHER_URI", settings.mongodb.uri.get_secret_value())
    monkeypatch.setenv("VIDPIPE_MONGODB_URI", "mongodb://127.0.0.1:9")
    monkeypatch.setenv("VIDPIPE_MONGODB_DATABASENAME", "nothing")
    mongodb = MongoDBResource(uri=dg.EnvVar("OTHER_URI"), database=settings.mongodb.database_name)
    definitions = build_definitions(GRAPH, settings, resources={"mongodb": mongodb})
    job = definitions.resolve_job_def("process")
    assert job.execute_in_process(instance=dagster, raise_on_error=False).success
    assert calls(settings, "length") == ids


def test_a_backend_given_to_the_definitions_decides_on_the_gpu(settings: Settings) -> None:
    model = DescribingModelResource(home=str(settings.home), backend="qwen")
    job = build_definitions(GPU_GRAPH, settings, resources={"describing_model": model}).resolve_job_def("process")
    (op,) = job.all_node_defs
    assert isinstance(op, dg.OpDefinition)
    assert op.pool == "gpu"


def test_a_run_cannot_replace_resources(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    """Secrets of the home would be sent to a server of the run's choice, or files written anywhere."""
    add("good")
    job = build_definitions(GRAPH, settings).resolve_job_def("process")
    for key, config in (("mongodb", {"uri": "mongodb://elsewhere"}), ("media_store", {"directory": "/elsewhere"})):
        replaced = {"resources": {key: {"config": {"home": str(settings.home), **config}}}}
        with pytest.raises(dg.DagsterResourceFunctionError) as raised:
            job.execute_in_process(instance=dagster, run_config=replaced)
        assert "The run config replaces resources of vidpipe." in str(raised.value.__cause__)
    assert calls(settings, "length") == []


def test_definitions_load_without_the_secrets(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither from a config.local.ini that cannot be read, nor from the environment."""
    (settings.home / "config.local.ini").mkdir()
    monkeypatch.setenv("VIDPIPE_MONGODB_URI", "mongodb://me:hunter2@127.0.0.1:9")
    monkeypatch.setenv("VIDPIPE_QWENVL_ACCESSKEY", "s3cret")
    code = (
        "import dagster as dg; from vidpipe.pipeline import definitions;"
        "dg.Definitions.validate_loadable(definitions.defs); s = definitions._SETTINGS;"
        "assert not s.mongodb.uri.get_secret_value(); assert not s.qwen_vl.access_key;"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_settings_without_secrets_keep_the_rest_of_the_local_file(settings: Settings) -> None:
    (settings.home / "config.local.ini").write_text("[QwenVL]\nBackend = endpoint\nAccessKey = s3cret\n")
    found = load(settings.home, secrets=False).settings
    assert found.qwen_vl.backend == "endpoint"
    assert not found.qwen_vl.access_key.get_secret_value()
    assert load(settings.home).settings.qwen_vl.access_key.get_secret_value() == "s3cret"
