"""The small graph in three steps as a code location: prepare, describe (on the pool gpu) and label."""

from dataclasses import replace

from vidpipe.pipeline.build import build_definitions
from vidpipe.settings import load
from vidpipe.stages.graph import StageGraph
from vidpipe_tests.runner.small_graph import LENGTH, PARTS, REPORT

GRAPH = StageGraph((LENGTH, replace(PARTS, job="describe", pool="gpu"), REPORT))
defs = build_definitions(GRAPH, load().settings)
