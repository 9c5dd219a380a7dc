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
    result: type[AnalysisResult],
    function: StageFunction,
    description: str,
    outputs: tuple[OutputFormat, ...],
    settings: tuple[str, ...] = (),
    **adds: Any,
) -> Analysis:
    """Return the analysis that is called as its result, Faces as faces. Its model is the resource faces_model.

    Args:
        result: The model of its results.
        function: The function of its stage.
        description: The stage in one or two sentences.
        outputs: The outputs of models that are of use to it. The model is Model in its section.
        settings: The settings that its results depend on besides the model.
        adds: Evidence, fields and columns, see `Analysis`.
    """
    name = result.__name__.lower()

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
