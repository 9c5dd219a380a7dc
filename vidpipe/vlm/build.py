"""The describing model that the settings name."""

from __future__ import annotations

from vidpipe.settings import Settings
from vidpipe.vlm.model import DescribingModel
from vidpipe.vlm.statistics import StatisticsDescriber


def build_model(settings: Settings) -> DescribingModel:
    """The model of Backend in [QwenVL]. Raises UnavailableError where a setting that it needs is missing or wrong."""
    if settings.qwen_vl.backend == "qwen":
        from vidpipe.vlm.qwen.backend import QwenModel

        return QwenModel(settings)
    if settings.qwen_vl.backend == "endpoint":
        from vidpipe.vlm.endpoint.model import EndpointModel

        return EndpointModel(settings)
    return StatisticsDescriber()
