"""The stages of a home with default settings: no analysis is enabled."""

from pathlib import Path

from vidpipe.settings import Settings
from vidpipe.stages.registry import build_graph

GRAPH = build_graph(Settings(home=Path("/home")))
