"""Declares the analyses that examine the packed frames with a detector or classifier that a model card describes."""

from typing import Any

from vidpipe.models.model_card import OutputFormat, build_picture_model
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.stages.analyses.declaration import Analysis
from vidpipe.stages.analyses.packed_frames import READS
from vidpipe.stages.analyses.results import AnalysisResult
from vidpipe.stages.contract import Stage, StageFunction


def picture_analysis(
    name: str,
    result: type[AnalysisResult],
    function: StageFunction,
    description: str,
    *,
    outputs: tuple[OutputFormat, ...],
    settings: tuple[str, ...] = (),
    **adds: Any,
) -> Analysis:
    """Return an analysis whose model is a resource: `faces_model` of the analysis faces.

    Args:
        name: Its name, and that of its section of config.ini.
        result: The model of its results.
        function: The function of its stage.
        description: The stage in one or two sentences.
        outputs: The outputs of models that are of use to it. The model is Model in the section.
        settings: The settings that its results depend on besides the model.
        adds: Evidence, fields and columns, see `Analysis`.
    """

    def build(settings: Settings) -> WorkerModel:
        return build_picture_model(settings, getattr(settings, name).model, *outputs)

    stage = Stage(
        name=name,
        job="prepare",
        description=description,
        result=result,
        function=function,
        reads=READS,
        settings=settings,
        resources=(f"{name}_model",),
        pool="cpu",
        kinds=("onnx", "opencv"),
        optional=True,
    )
    return Analysis(stage, resources={f"{name}_model": build}, **adds)
