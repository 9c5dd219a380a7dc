"""What Dagster loads (workspace.yaml): the seven stages of the home that VIDPIPE_HOME names or the folder lies in."""

from vidpipe.pipeline.build import build_definitions
from vidpipe.settings import configure_logging, load
from vidpipe.stages.registry import GRAPH

_SETTINGS = load().settings
configure_logging(_SETTINGS)
defs = build_definitions(GRAPH, _SETTINGS)
