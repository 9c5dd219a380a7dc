"""Stages of plugins: one that fits joins the others, any other is unavailable, with the reason, and blocks nothing."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from vidpipe.runner.plan import Plan
from vidpipe.search.fields import Fields
from vidpipe.settings import init_home, load
from vidpipe.settings.schema import Settings
from vidpipe.stages.contract import Item, StageContext
from vidpipe.stages.registry import build_graph, enabled_analyses
from vidpipe.stages.rule_facts import rule_facts
from vidpipe.storage.media_files import MediaFiles
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.plugin_packages import CODE, Install, installed_package  # noqa: F401 - fixture


def settings_with(tmp_path: Path, enabled: str = "logo_finder") -> Settings:
    home = init_home(tmp_path / "home").home
    return load(home, {"VIDPIPE_ANALYSES_ENABLED": enabled, "VIDPIPE_LOGOFINDER_MINSIZE": "0.3"}).settings


def test_a_plugin_is_a_stage_with_settings_rule_fields_texts_facets_and_columns(
    tmp_path: Path, install: Install
) -> None:
    install()
    settings = settings_with(tmp_path)
    graph = build_graph(settings)
    plan = Plan.make(graph, settings)
    stage = graph["logo_finder"]
    assert set(plan.specs) == {*GRAPH.names, "logo_finder"}
    assert graph.upstream("logo_finder") == ("scenes",)
    assert "logo_finder.logos" in graph["tags"].optional_reads
    assert "logo" in Fields(graph).facets
    context = StageContext(plan.settings_of(stage), files=MediaFiles(settings))
    (outcome,) = stage.function([Item("0" * 64, {"scenes.pack": None})], context)
    assert outcome.result is not None
    assert outcome.result.model_dump() == {"logos": ("0.3",)}
    enabled = enabled_analyses(settings)
    assert rule_facts({"logo_finder.logos": ("a", "b")}, analyses=enabled).values["logo_count"] == 2
    plan.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("", "import no_such_module\n"), "ModuleNotFoundError: No module named 'no_such_module'"),
        (("", "raise SystemExit(3)\n"), "SystemExit: 3"),
        (("Analysis(\n", "dict(\n"), "is dict, not an Analysis"),
        (("Analysis(\n", "Analysis(wrong=1,\n"), "unexpected keyword argument 'wrong'"),
        (('name="logo_finder"', 'name="scenes"'), "its stage is called scenes"),
        (("optional=True", "optional=False"), "must be optional"),
        (('"scenes.pack",', '"scenes.packs",'), "reads scenes.packs, which scenes does not give"),
        (('"scenes.pack",', '"nowhere.pack",'), "no stage before it has that name"),
        (('"logo_finder.min_size",', '"logo_finder.max_size",'), "no attribute 'max_size'"),
        (("class LogoResult(StageResult)", "class LogoResult"), "StageResult"),
        (("class LogoFinder(", "class Logos("), "name 'LogoFinder' is not defined"),
        (("min_size: float = Field(0.1,", "min_size: float = Field("), "key without a valid default"),
        (('SearchField("logo", "term"', 'SearchField("tag", "number"'), "search field tag of kind number is taken"),
        (('FieldSpec("logo_count"', 'FieldSpec("duration_s"'), "another stage has a rule field duration_s"),
    ],
)
def test_a_plugin_that_does_not_fit_is_unavailable_and_named(
    tmp_path: Path, install: Install, change: tuple[str, str], said: str
) -> None:
    install(CODE.replace(change[0], change[1], 1))
    settings = settings_with(tmp_path)
    graph = build_graph(settings)
    plan = Plan.make(graph, settings)
    assert graph.names == GRAPH.names
    assert set(plan.specs) == set(GRAPH.names)
    (error,) = plan.unavailable.values()
    assert "The plugin logo_finder (vidpipe-logos 1.2) cannot be used" in error.message
    assert said in error.message
    assert "pip install --upgrade vidpipe-logos" in error.hint
    assert set(Plan.make(graph, settings, ["logo_finder"]).unavailable) == {"logo_finder"}
    plan.close()


def test_a_name_that_nobody_has_is_an_unavailable_stage(tmp_path: Path, install: Install) -> None:
    install()
    settings = settings_with(tmp_path, "logo_findr, speech")
    graph = build_graph(settings)
    (error,) = graph.broken.values()
    assert re.search(r"called logo_findr\..*Did you mean logo_finder", error.message)
    assert graph.names == build_graph(settings_with(tmp_path, "speech")).names
    with contextlib.closing(Plan.make(graph, settings, ["logo_findr", "metadata"])) as plan:
        assert set(plan.unavailable) == {"logo_findr"}
        assert plan.problems == {}
