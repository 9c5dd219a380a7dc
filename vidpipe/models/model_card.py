"""Model cards: what must be known of a detector or classifier to run it on a picture and to read its answer.

The card of a model of the catalogue is in its entry there. A model of your own is a folder with its file and card.toml.
"""

import tomllib
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, PositiveFloat, ValidationError, model_validator

from vidpipe.errors import UnavailableError, visible
from vidpipe.models.installed import InstalledModel, chosen_models
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings

CARD = "card.toml"
OutputFormat = Literal["ssd", "detr", "scores", "centerface"]
_FIXED = "Correct the card; docs/analyses.md describes its keys."
#: What the card of a model of your own must say, besides what every card must.
_OWN = ("file", "sha256", "licence", "source")
Side = Annotated[int, Field(ge=8, le=4096)]


class ModelCard(BaseModel, frozen=True, extra="forbid"):
    """The card of a model. A value of the input tensor is (pixel - mean) / std, pixels being 0 to 255.

    Attributes:
        runtime: onnx: ONNX Runtime. opencv: OpenCV's dnn module, for ONNX files and TensorFlow graphs (.pb).
        file: The model's file in its folder.
        graph: OpenCV's text graph (.pbtxt) that goes with a TensorFlow graph.
        output: What the model answers. ssd: one tensor (1, 1, detections, 7) of image, label, confidence, left, top,
            right, bottom. detr: logits (1, queries, labels) and boxes (1, queries, 4) of center and size. scores: one
            tensor (1, labels). centerface: heat map, sizes, offsets, landmarks.
        activation: What turns logits or scores into confidences. With softmax, detr has one more label: nothing.
        labels: Labels in English by number; what is detected under an empty label is dropped.
        stated: The labels reliable enough for descriptions; empty: all. Rules and searches use the others, too.
        size: Width and height of the input, in pixels; None: those of the picture, rounded up to multiples of 32.
        before_crop: With scores: width and height to which a picture is stretched before its center is cut out.
        layout: Order of the dimensions of the input tensor.
        channels: Order of the colors.
        mean: What is subtracted, by channel.
        std: What the difference is divided by.
        jpeg: Whether the model expects the artifacts of a JPEG of the size before the crop.
        sha256: Hash of `file`; this and the following are required for a model of your own.
        licence: Licence of the weights, as an SPDX identifier, or "unknown".
        source: Where it comes from.
        version: Its version; not required.
    """

    runtime: Literal["onnx", "opencv"]
    file: str = Field(pattern=r"^[\w.+-]+$")
    graph: str = Field("", pattern=r"^[\w.+-]*$")
    output: OutputFormat
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    labels: tuple[Annotated[str, Field(max_length=60)], ...] = Field(min_length=1, max_length=100_000)
    stated: tuple[str, ...] = ()
    size: tuple[Side, Side] | None = None
    before_crop: tuple[Side, Side] | None = None
    layout: Literal["nchw", "nhwc"] = "nchw"
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (1.0, 1.0, 1.0)
    jpeg: bool = False
    sha256: str = ""
    licence: str = ""
    source: str = ""
    version: str = ""

    @model_validator(mode="after")
    def _crops_what_is_there(self) -> Self:
        if self.before_crop and (
            self.output != "scores"
            or not self.size
            or any(a < b for a, b in zip(self.before_crop, self.size, strict=True))
        ):
            raise ValueError("before_crop: it needs the output scores and a size that is not larger")
        return self


def build_picture_model(settings: Settings, name: str, *outputs: OutputFormat) -> WorkerModel:
    """Return a model that answers requests about JPEGs (see `vidpipe.models.picture_model.load`).

    Cheap: the card is checked, but the model is loaded by the first request.

    Args:
        settings: The settings.
        name: A name in the catalogue, or a folder with a model and its card.
        outputs: The outputs that are of use.

    Raises:
        UnavailableError: It is not installed, its card is wrong, or it is of another kind.
    """
    (model,) = chosen_models(settings, name)
    if "/" in name:
        model = _with_card(model)
    try:
        card = ModelCard.model_validate(model.card)
    except ValidationError as error:
        first = error.errors()[0]
        found = visible(": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")]))
        raise UnavailableError(f"The card of the model {model.name} is wrong: {found}.", _FIXED) from None
    if card.output not in outputs:
        raise UnavailableError(
            f"The model {model.name} has the output {card.output}; {' or '.join(outputs)} is needed.",
            "Choose another model: `vidpipe models list`.",
        )
    packages = ("onnxruntime",) if card.runtime == "onnx" else ()
    load = "vidpipe.models.picture_model:load"
    return WorkerModel([model], load, {}, threads=settings.analyses.threads, packages=packages)


def _with_card(model: InstalledModel) -> InstalledModel:
    """Return the model in a folder of the user's with its card, whose hash must be that of the file."""
    path = model.folder / CARD
    try:
        card = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnavailableError(f"The model card {path} cannot be read: {error}.", _FIXED) from error
    if missing := [key for key in _OWN if not card.get(key)]:
        raise UnavailableError(f"The model card {path} is wrong: {', '.join(missing)} is missing.", _FIXED)
    file, sha256 = str(card["file"]), card["sha256"]
    if (found := model.files.get(file, "no such file")) != sha256:
        raise UnavailableError(f"The model card {path} gives {file} the sha256 {sha256}; found: {found}.", _FIXED)
    return replace(model, version=str(card.get("version") or model.version), card=card)
