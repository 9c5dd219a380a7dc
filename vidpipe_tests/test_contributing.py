"""The stage that CONTRIBUTING.md shows works as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vidpipe.library.library import Library
from vidpipe.library.queries.show import view
from vidpipe.pipeline.ingest import run_ingest
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph
from vidpipe_tests import clips
from vidpipe_tests.default_graph import GRAPH

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_a_stage_takes_less_than_forty_lines_and_is_due_for_what_is_there(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(code.splitlines()) < 40
    module = ModuleType("vidpipe.stages.pace")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, "pace.py", "exec"), module.__dict__)  # noqa: S102 - our own document
    extended = StageGraph((*GRAPH, module.STAGE))

    clip = clips.color_cuts(tmp_path / "calm.mp4", ["red", "blue"], seconds_each=2)
    (outcome,) = run_ingest(settings, [str(clip)])
    assert outcome.video is not None
    with Library.open(settings, GRAPH) as library:
        assert Runner(library, Plan.make(GRAPH, settings)).run().ok
    with Library.open(settings, extended) as library:
        plan = Plan.make(extended, settings)
        assert library.states.counts(plan.specs)["pace"] == {
            "current": 0, "due": 1, "blocked": 0, "failed": 0, "quarantined": 0,
        }  # fmt: skip
        report = Runner(library, plan).run()
        assert report.total("computed") == 1
        document = library.videos.get(outcome.video)
        assert document is not None
        assert document["pace"] == {"word": "fast" if document["scenes"]["cuts_per_minute"] > 20 else "calm"}
        assert view(library, outcome.video, plan.specs)["stages"]["pace"]["state"] == "current"
