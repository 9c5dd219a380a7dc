"""Embeddings of frames, and of texts to be compared with them, by a CLIP or SigLIP2 checkpoint in a worker process."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidpipe.models.embeddings import embedded, packed
from vidpipe.models.installed import chosen_models
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def load(folders: Mapping[str, Path], cards: Mapping[str, Any], threads: int) -> Callable[[Any], list[str]]:
    """Load the checkpoint; called in its process. It runs on a GPU, in half precision, if there is one.

    Returns:
        A function of {"jpegs": [...]} or {"texts": [...]}, which returns an embedding of each (see
        `vidpipe.models.embeddings`).
    """
    import torch
    from PIL import Image
    from transformers import AutoModel, AutoProcessor

    (folder,) = folders.values()
    torch.set_num_threads(threads)
    device, dtype = ("cuda", torch.float16) if torch.cuda.is_available() else ("cpu", torch.float32)
    model: Any = AutoModel.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
    model = model.to(device).eval()
    processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
    most = model.config.text_config.max_position_embeddings
    padding = "max_length" if "siglip" in model.config.model_type else True  # SigLIP was trained with texts padded so

    def embed(request: Any) -> list[str]:
        with torch.inference_mode():
            if "jpegs" in request:
                pictures = [Image.open(io.BytesIO(jpeg), formats=["JPEG"]).convert("RGB") for jpeg in request["jpegs"]]
                inputs = processor(images=pictures, return_tensors="pt").to(device, dtype)
                found = model.get_image_features(**inputs)
            else:
                texts = request["texts"]
                inputs = processor(text=texts, padding=padding, truncation=True, max_length=most, return_tensors="pt")
                found = model.get_text_features(**inputs.to(device))
            vectors: NDArray[np.float32] = getattr(found, "pooler_output", found).float().cpu().numpy()
        return packed(vectors)

    return embed


def build_frame_model(settings: Settings) -> WorkerModel:
    """Return the checkpoint that [Meaning] names; without one, a model that consists of no files.

    Raises:
        UnavailableError: The folder cannot be read, or a package is missing.
    """
    name = settings.meaning.frame_model
    models = chosen_models(settings, name if "/" in name else f"./{name}") if name else ()
    packages = ("torch", "transformers") if name else ()
    return WorkerModel(models, f"{__name__}:load", {}, threads=settings.analyses.threads, packages=packages)


def embedded_words(text: str, settings: Settings) -> Sequence[int]:
    """Return the embedding of words that frames are compared with; () without a checkpoint. Raises UnavailableError."""
    model = build_frame_model(settings)
    return embedded(model, {"texts": [text]}) if model.installed else ()
