"""The small graph as a code location: what the tests give to `dagster dev`."""

from vidpipe.pipeline.build import build_definitions
from vidpipe.settings import load
from vidpipe_tests.runner.small_graph import GRAPH

defs = build_definitions(GRAPH, load().settings)
