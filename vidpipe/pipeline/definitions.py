"""What Dagster loads (workspace.yaml): the stages of the home that VIDPIPE_HOME names, or of the current folder.

No secret is read here; resources read the settings when they are first used.
"""

from vidpipe.pipeline.build import build_definitions
from vidpipe.settings import configure_logging, load
from vidpipe.stages.registry import build_graph

_SETTINGS = load(secrets=False).settings
configure_logging(_SETTINGS)
defs = build_definitions(build_graph(_SETTINGS), _SETTINGS)
