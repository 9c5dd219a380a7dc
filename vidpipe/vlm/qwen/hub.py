"""Checkpoints by name, from Hugging Face or ModelScope: fetched once, then read from the hub's own cache."""

from __future__ import annotations

import importlib.util
import json
from functools import partial
from pathlib import Path
from typing import Literal

from vidpipe.errors import UnavailableError

Hub = Literal["huggingface", "modelscope"]
_TITLES: dict[Hub, str] = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
_WEIGHTS = ("model.safetensors.index.json", "model.safetensors")
#: What is read of a checkpoint: weights from safetensors only, since a pickled file runs code when it is read.
_DESCRIPTION = ["*.json", "*.jinja", "*.txt"]


def find_file(hub: Hub, model: str, name: str) -> Path | None:
    """The local path of one file of `model`, fetched where it is not there yet; None where the model has none such.

    Raises UnavailableError where the hub is out of reach or does not know the model.
    """
    return _find_on_hugging_face(model, name) if hub == "huggingface" else _find_on_modelscope(model, name)


def loadable(hub: Hub, model: str) -> str:
    """What transformers loads `model` from: its name on Hugging Face, a folder else. Raises UnavailableError."""
    if hub == "huggingface":
        return model
    folder = _modelscope_cache(model)
    if folder and _has_weights(folder):
        return str(folder)
    return str(_from_modelscope(model, [*_DESCRIPTION, "*.safetensors"]))


def _has_weights(folder: Path) -> bool:
    """Whether all of them are there: a download may have been interrupted."""
    index, single = (folder / name for name in _WEIGHTS)
    if not index.is_file():
        return single.is_file()
    try:
        return all((folder / name).is_file() for name in json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _find_on_hugging_face(model: str, name: str) -> Path | None:
    try:
        import huggingface_hub
        from huggingface_hub import errors as hub_errors
    except ImportError as error:
        raise UnavailableError(
            "Backend qwen needs packages that are not installed.", "Install the extra: pip install 'vidpipe[qwen]'."
        ) from error
    kept = huggingface_hub.try_to_load_from_cache(model, name)
    if kept is not None:  # a path, or the knowledge that there is none
        return Path(kept) if isinstance(kept, str) else None
    try:
        # A single request: without a network, the download would retry for half a minute and print each attempt.
        huggingface_hub.file_exists(model, name)
    except Exception as error:  # errors of its HTTP client are not part of its interface
        # without a network, what a whole download does not hold does not exist
        cached = partial(huggingface_hub.try_to_load_from_cache, model)
        if any(isinstance(cached(weights), str) for weights in _WEIGHTS):
            return None
        raise _out_of_reach("huggingface", model) from error
    try:
        return Path(huggingface_hub.hf_hub_download(model, name))
    except hub_errors.RemoteEntryNotFoundError:
        return None
    except (hub_errors.HfHubHTTPError, hub_errors.HFValidationError, OSError) as error:
        raise _out_of_reach("huggingface", model) from error


def _find_on_modelscope(model: str, name: str) -> Path | None:
    folder = _modelscope_cache(model)
    if folder is None or not any((folder / weights).is_file() for weights in _WEIGHTS):
        folder = _from_modelscope(model, _DESCRIPTION)
    if name == _WEIGHTS[1] and not any((folder / weights).is_file() for weights in _WEIGHTS):
        folder = _from_modelscope(model, [*_DESCRIPTION, name])
    path = folder / name
    return path if path.is_file() else None


def _modelscope_cache(model: str) -> Path | None:
    """The folder of what was fetched of `model` before."""
    _need_modelscope()
    from modelscope import snapshot_download

    try:
        folder = Path(snapshot_download(model, local_files_only=True))
    except Exception:  # the package has several classes for "not there", which differ between its versions
        return None
    return folder if (folder / "config.json").is_file() else None


def _from_modelscope(model: str, patterns: list[str]) -> Path:
    from modelscope import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=patterns))
    except Exception as error:
        raise _out_of_reach("modelscope", model) from error


def _need_modelscope() -> None:
    if importlib.util.find_spec("modelscope") is None:
        raise UnavailableError(
            "ModelHub = modelscope needs the package modelscope, which is not installed.",
            "Install it (pip install modelscope), or set ModelDir to a folder that `modelscope download` made, or "
            "ModelHub = huggingface.",
        )


def _out_of_reach(hub: Hub, model: str) -> UnavailableError:
    return UnavailableError(
        f"The model {model} is not on this machine, and cannot be fetched from {_TITLES[hub]}.",
        "Check the name (Model and ModelHub in [QwenVL]) and the network, or set ModelDir to a folder with the "
        "checkpoint.",
    )
