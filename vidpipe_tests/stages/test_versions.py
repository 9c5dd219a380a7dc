"""Equal things have equal versions, however they are written; different things have different ones."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel

from vidpipe.settings import Settings
from vidpipe.settings.schema import Concurrency, SceneDetection
from vidpipe.stages.contract import Stage, StageResult
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.versions import fingerprint, spec_of
from vidpipe_tests.runner.small_graph import GRAPH, LENGTH, PARTS, REPORT

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

#: A busy machine generates values slowly.
untimed = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@untimed
@given(st.dictionaries(st.text(), PLAIN, max_size=5))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert fingerprint(value) == fingerprint(dict(reversed(list(value.items()))))


@untimed
@given(PLAIN)
def test_a_list_is_told_from_its_only_element(value: object) -> None:
    assert fingerprint([value]) != fingerprint(value)


def test_a_float_equal_to_an_integer_is_the_same_value_as_mongodb_may_give_either_back() -> None:
    assert fingerprint({"a": 2.0}) == fingerprint({"a": 2})
    assert fingerprint(2.5) != fingerprint(2)
    with pytest.raises(ValueError, match="no canonical form"):
        fingerprint(math.nan)


def test_a_model_is_versioned_by_its_values() -> None:
    class Point(BaseModel):
        x: int
        y: tuple[int, ...] = ()

    assert fingerprint(Point(x=1)) == fingerprint({"x": 1, "y": []})


def test_a_spec_holds_what_changes_the_result_and_nothing_else(home: object) -> None:
    settings = Settings(home=Path(str(home)))
    faster = settings.model_copy(update={"concurrency": Concurrency(max_workers=7)})
    finer = settings.model_copy(update={"scene_detection": SceneDetection(default_threshold=1)})
    spelled_out = settings.model_copy(update={"scene_detection": SceneDetection(default_threshold=3.0)})
    assert spec_of(PARTS, settings, {}) == spec_of(PARTS, faster, {}) == spec_of(PARTS, spelled_out, {})
    assert spec_of(PARTS, settings, {}) != spec_of(PARTS, finer, {})
    assert spec_of(LENGTH, settings, {}) == spec_of(LENGTH, finer, {})


def test_a_stage_that_reads_something_else_has_another_spec() -> None:
    settings = Settings(home=Path())
    assert spec_of(LENGTH, settings, {}) != spec_of(
        replace(LENGTH, reads=("ingest.names", "ingest.urls")), settings, {}
    )


def test_the_graph_knows_who_reads_what() -> None:
    assert GRAPH.upstream("report") == ("length", "parts")
    assert GRAPH.downstream("length") == ("parts", "report")
    assert GRAPH.readers("length", ["letters"]) == {"report"}
    assert GRAPH.readers("length", ["parity"]) == {"parts"}
    assert GRAPH.readers("ingest", ["names"]) == {"length"}


def declared(name: str, reads: tuple[str, ...], result: type[StageResult] = LENGTH.result) -> Stage:
    return Stage(name=name, job="label", description="", result=result, function=LENGTH.function, reads=reads)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((declared("a", ("b.letters",)),), "no stage before it"),
        ((LENGTH, declared("a", ("length.colour",))), "does not give"),
        ((LENGTH, LENGTH), "two stages"),
        ((LENGTH, PARTS, declared("a", ("length.letters",), REPORT.result)), "must read the scenes of parts"),
    ],
)
def test_a_wrong_declaration_is_refused_when_the_graph_is_made(stages: tuple[Stage, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StageGraph(stages)
