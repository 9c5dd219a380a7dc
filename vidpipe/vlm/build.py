"""The describing model that the settings name."""

from __future__ import annotations

from vidpipe.errors import UnavailableError
from vidpipe.settings import Settings
from vidpipe.vlm.model import DescribingModel
from vidpipe.vlm.statistics import StatisticsDescriber

_NOT_YET = (
    "This version brings the describers `statistics` and `qwen`. Set Backend = statistics or qwen (section [QwenVL] of "
    "config.ini, or VIDPIPE_QWENVL_BACKEND)."
)


def build_model(settings: Settings) -> DescribingModel:
    """The model of Backend in [QwenVL]. Raises UnavailableError where this version does not have it."""
    if settings.qwen_vl.backend == "statistics":
        return StatisticsDescriber()
    if settings.qwen_vl.backend == "qwen":
        from vidpipe.vlm.qwen.backend import QwenModel

        return QwenModel(settings)
    raise UnavailableError(f"Backend {settings.qwen_vl.backend} of [QwenVL] is not available.", _NOT_YET)
