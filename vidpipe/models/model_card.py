"""Model cards: what must be known of a detector or classifier to run it on a picture and to read its answer.

The card of a model of the catalogue is in its entry there. A model of your own is a folder with its file and card.toml.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from vidpipe.errors import UnavailableError, visible
from vidpipe.models.installed import InstalledModel, installed_model
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings

CARD = "card.toml"
#: JPEGs of one request: larger batches are slower on a CPU.
BATCH = 1
OutputFormat = Literal["ssd", "detr", "scores", "centerface"]
_FIXED = "Correct the card; docs/analyses.md describes its keys."
Side = Annotated[int, Field(ge=8, le=4096)]
Channels = tuple[float, float, float]


class ModelCard(BaseModel, frozen=True, extra="forbid"):
    """The card of a model. A value of the input tensor is (pixel * scale - mean) / std, pixels being 0 to 255.

    Attributes:
        runtime: onnx: ONNX Runtime. opencv: OpenCV's dnn module, for ONNX files and TensorFlow graphs (.pb).
        file: The model's file in its folder.
        graph: OpenCV's text graph (.pbtxt) that goes with a TensorFlow graph.
        sha256: Hash of `file`, checked when it is loaded; required for a model of your own.
        output: What the model answers. ssd: one tensor (1, 1, detections, 7) of image, label, confidence, left, top,
            right, bottom. detr: logits (pictures, queries, labels) and boxes (pictures, queries, 4) of center and size.
            scores: one tensor (pictures, labels). centerface: heat map, sizes, offsets, landmarks.
        outputs: Names of the output tensors in this order; empty: the order of the file.
        activation: What turns logits or scores into confidences.
        labels: Labels in English by number; what is detected under an empty label is dropped.
        size: Width and height of the input, in pixels; None: those of the picture, rounded up to `multiple`.
        multiple: See `size`.
        resize: stretch; letterbox: fit and pad with gray; crop: the center of a picture stretched to `before_crop`, or
            whose shorter side is scaled to that of the input.
        before_crop: See `resize`.
        layout: Order of the dimensions of the input tensor.
        channels: Order of the colors.
        scale: Factor of a pixel.
        mean: What is subtracted, by channel.
        std: What the difference is divided by.
        jpeg: Whether the model expects the artifacts of a JPEG of the size before the crop.
        name: Its name, for people.
        licence: Licence of the weights, as an SPDX identifier, or "unknown".
        source: Where it comes from.
        version: Its version.
    """

    runtime: Literal["onnx", "opencv"]
    file: str = Field(pattern=r"^[\w.+-]+$")
    graph: str = Field("", pattern=r"^[\w.+-]*$")
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    output: OutputFormat
    outputs: tuple[str, ...] = ()
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    labels: tuple[Annotated[str, Field(max_length=60)], ...] = Field((), max_length=100_000)
    size: tuple[Side, Side] | None = None
    multiple: PositiveInt = 32
    resize: Literal["stretch", "letterbox", "crop"] = "stretch"
    before_crop: tuple[Side, Side] | None = None
    layout: Literal["nchw", "nhwc"] = "nchw"
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: PositiveFloat = 1.0
    mean: Channels = (0.0, 0.0, 0.0)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (1.0, 1.0, 1.0)
    jpeg: bool = False
    name: str = ""
    licence: str = ""
    source: str = ""
    version: str = ""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.output != "centerface" and not any(self.labels):
            raise ValueError(f"labels: a model with the output {self.output} needs them")
        if self.size is None and self.resize != "stretch":
            raise ValueError(f"size: it is required with resize = {self.resize}")
        if self.size and self.before_crop and any(a < b for a, b in zip(self.before_crop, self.size, strict=True)):
            raise ValueError("before_crop: it must not be smaller than size")
        return self


def card_of(model: InstalledModel, *outputs: OutputFormat) -> ModelCard:
    """Return the card of an installed model.

    Args:
        model: The model.
        outputs: The outputs that are of use.

    Raises:
        UnavailableError: Something in the card is not allowed, or the model is of another kind.
    """
    try:
        card = ModelCard.model_validate(model.card)
    except ValidationError as error:
        raise UnavailableError(f"The card of the model {model.name} is wrong: {_found(error)}.", _FIXED) from None
    if card.output not in outputs:
        raise UnavailableError(
            f"The model {model.name} has the output {card.output}; {' or '.join(outputs)} is needed.",
            "Choose another model: `vidpipe models list`.",
        )
    return card


def build_picture_model(settings: Settings, name: str, *outputs: OutputFormat) -> WorkerModel:
    """Return a model that answers requests about JPEGs (see `vidpipe.models.picture_model.load`).

    Cheap: the card is checked, but the model's file is read by the first request.

    Args:
        settings: The settings.
        name: A name in the catalogue, or a folder with a model and its card.
        outputs: The outputs that are of use.

    Raises:
        UnavailableError: It is not installed, its card is wrong, or it is of another kind.
    """
    own = "/" in name
    model = _own_model(settings.resolve(name)) if own else installed_model(settings.models_directory, name)
    card = card_of(model, *outputs)
    for file in filter(None, (card.file, card.graph)):
        if not (model.folder / file).is_file():
            hint = _FIXED if own else f"Run `vidpipe models install {name}`."
            raise UnavailableError(f"The file {file} of the model {model.name} is missing in {model.folder}.", hint)
    return WorkerModel([model], "vidpipe.models.picture_model:load", {}, threads=settings.analyses.threads)


def _own_model(folder: Path) -> InstalledModel:
    path = folder / CARD
    try:
        card = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnavailableError(f"The model card {path} cannot be read: {error}.", _FIXED) from error
    missing = [key for key in ("file", "sha256", "licence", "source") if not card.get(key)]
    if missing:
        raise UnavailableError(f"The model card {path} is wrong: {', '.join(missing)} is missing.", _FIXED)
    files = {str(card["file"]): str(card["sha256"])}
    return InstalledModel(visible(folder.name), str(card.get("version") or ""), folder, files, card)


def _found(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return visible(f"{where}: {message}" if where else message)
