"""The checkpoint that the settings name: a folder, or a name on Hugging Face or ModelScope.

A checkpoint on a hub is downloaded once, then read from the hub's own cache.
"""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from vidpipe.errors import UnavailableError
from vidpipe.settings import Settings
from vidpipe.text.words import digest

_CONFIG, _INDEX, _SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"
_PROCESSOR = "processor_config.json"
#: Keys that do not affect answers: who saved the checkpoint, and how answers would be sampled.
_IGNORED_KEYS = frozenset(
    {
        "_name_or_path", "_from_model_config", "transformers_version", "torch_dtype", "dtype", "processor_class",
        "image_processor_type", "video_processor_type", "chat_template", "do_sample", "temperature", "top_p", "top_k",
        "use_cache", "output_attentions", "output_hidden_states", "return_metadata", "max_length", "max_new_tokens",
    }
)  # fmt: skip
Hub = Literal["huggingface", "modelscope"]
_TITLES: dict[Hub, str] = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
#: Files of a checkpoint besides its weights, which are read from safetensors only: unpickling runs code.
_DESCRIPTION = ["*.json", "*.jinja", "*.txt"]
_FULLY_HASHED_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a model.

    Attributes:
        source: A folder, or a name on `hub`.
        folder: Whether it is a folder.
        hub: Where it is downloaded from.
    """

    source: str
    folder: bool
    hub: Hub = "huggingface"

    @classmethod
    def of(cls, settings: Settings) -> "Checkpoint":
        """Return ModelDir of [QwenVL] if it is set, else Model."""
        if settings.qwen_vl.model_dir:
            return cls(str(settings.resolve(Path(settings.qwen_vl.model_dir).expanduser())), folder=True)
        return cls(settings.qwen_vl.model, folder=False, hub=settings.qwen_vl.model_hub)

    def name(self) -> str:
        """Return the model's name; for a folder, whose name means nothing, its architecture and version."""
        return self.source if not self.folder else f"{self._config().get('model_type')} {self.version()[:8]}"

    def version(self) -> str:
        """Return 16 hex digits that identify what answers depend on, wherever the files are.

        That is the configuration, the weights index, the chat template, the preprocessing of pictures and the settings
        of greedy generation. A checkpoint of one file has no index: a small file is hashed completely, of a large one
        the header and the size.

        Raises:
            UnavailableError: Files are missing.
        """
        parts = (self._config(), self._video_processor(), self._read("generation_config.json"))
        index = self._find(_INDEX)
        weights = _read_json(index)["weight_map"] if index else self._single_file()
        described = [{key: value for key, value in part.items() if key not in _IGNORED_KEYS} for part in parts]
        return digest(*(json.dumps(part, sort_keys=True) for part in (*described, weights, self._template())))

    def to_load(self) -> str:
        """Return what transformers loads it from. Raises UnavailableError as `check` does, or if a download fails."""
        self.check()
        if self.folder or self.hub == "huggingface":
            return self.source
        folder = _modelscope_cache(self.source)
        if not folder or not _has_weights(folder):
            folder = _from_modelscope(self.source, [*_DESCRIPTION, "*.safetensors"])
        return str(folder)

    def check(self) -> None:
        """Raise UnavailableError if a folder is not a checkpoint, or lacks some of its weights."""
        self._config()
        if not self.folder:
            return
        if self._find(_INDEX) is None:
            self._single_file()
        elif missing := _missing_weights(Path(self.source)):
            raise UnavailableError(
                f"The checkpoint {self.source} lacks weights: {', '.join(missing[:3])}"
                f"{f' and {len(missing) - 3} more' if len(missing) > 3 else ''}.",
                "Download the whole checkpoint again; with ModelDir set, nothing is downloaded automatically.",
            )

    def _config(self) -> dict[str, Any]:
        path = self._find(_CONFIG)
        if path is None:
            raise UnavailableError(
                f"{self.source} is not a checkpoint: it has no {_CONFIG}.",
                "ModelDir in [QwenVL] must be a folder with config.json, the tokenizer and *.safetensors, created by "
                "`hf download Qwen/Qwen2-VL-7B-Instruct --local-dir FOLDER` (or `modelscope download`).",
            )
        return _read_json(path)

    def _single_file(self) -> str:
        path = self._find(_SINGLE)
        if path is None:
            raise UnavailableError(
                f"The checkpoint {self.source} has no weights: neither {_INDEX} nor {_SINGLE}.",
                "Only safetensors are supported. Download the checkpoint again, including *.safetensors.",
            )
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            if size_bytes <= _FULLY_HASHED_BYTES:
                return hashlib.file_digest(file, "sha256").hexdigest()
            header_bytes = int.from_bytes(file.read(8), "little")
            header = file.read(min(header_bytes, _FULLY_HASHED_BYTES))
            return f"{hashlib.sha256(header).hexdigest()} {size_bytes}"

    def _find(self, name: str) -> Path | None:
        """Return the local file of that name, downloaded from the hub first if necessary; None if there is none."""
        if self.folder:
            path = Path(self.source) / name
            return path if path.is_file() else None
        find = _find_on_hugging_face if self.hub == "huggingface" else _find_on_modelscope
        return find(self.source, name)

    def _read(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the checkpoint; {} if it does not exist."""
        path = self._find(name)
        return _read_json(path) if path else {}

    def _template(self) -> str:
        """Return the chat template, which is in one of four places."""
        if path := self._find("chat_template.jinja"):
            return path.read_text("utf-8")
        holders = ("chat_template.json", _PROCESSOR, "tokenizer_config.json")
        found = (self._read(name).get("chat_template") for name in holders)
        return str(next((template for template in found if template), ""))

    def _video_processor(self) -> dict[str, Any]:
        """Return the preprocessing of pictures from the first of three places, in the order of transformers."""
        return (
            self._read(_PROCESSOR).get("video_processor")
            or self._read("video_preprocessor_config.json")
            or self._read("preprocessor_config.json")
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{path} cannot be read as JSON: {error}.", "Download the checkpoint again.") from error
    if not isinstance(read, dict) or (path.name == _INDEX and not isinstance(read.get("weight_map"), dict)):
        raise UnavailableError(f"{path} is not a valid {path.name} of a checkpoint.", "Download it again.")
    return read


def _has_weights(folder: Path) -> bool:
    """Return whether all weights exist: a download may have been interrupted."""
    if not (folder / _INDEX).is_file():
        return (folder / _SINGLE).is_file()
    try:
        return not _missing_weights(folder)
    except (UnavailableError, TypeError):
        return False


def _missing_weights(folder: Path) -> list[str]:
    names = set(_read_json(folder / _INDEX)["weight_map"].values())
    return sorted(name for name in names if not (folder / name).is_file())


def _find_on_hugging_face(model: str, name: str) -> Path | None:
    try:
        import huggingface_hub
        from huggingface_hub import errors as hub_errors
    except ImportError as error:
        raise UnavailableError(
            "Backend qwen requires packages that are not installed.", "Install the extra: pip install 'vidpipe[qwen]'."
        ) from error
    kept = huggingface_hub.try_to_load_from_cache(model, name)
    if kept is not None:  # a path, or a marker that it does not exist
        return Path(kept) if isinstance(kept, str) else None
    try:
        # A single request: without a network, the download would retry for half a minute and print each attempt.
        huggingface_hub.file_exists(model, name)
    except Exception as error:  # errors of its HTTP client are not part of its API
        # without a network, files that a complete download lacks do not exist
        cached = partial(huggingface_hub.try_to_load_from_cache, model)
        if any(isinstance(cached(weights), str) for weights in (_INDEX, _SINGLE)):
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
    if folder is None or not any((folder / weights).is_file() for weights in (_INDEX, _SINGLE)):
        folder = _from_modelscope(model, _DESCRIPTION)
    if name == _SINGLE and not any((folder / weights).is_file() for weights in (_INDEX, _SINGLE)):
        folder = _from_modelscope(model, [*_DESCRIPTION, name])
    path = folder / name
    return path if path.is_file() else None


def _modelscope_cache(model: str) -> Path | None:
    """Return the folder of an earlier download of `model`."""
    if importlib.util.find_spec("modelscope") is None:
        raise UnavailableError(
            "ModelHub = modelscope requires the package modelscope, which is not installed.",
            "Install it (pip install modelscope), set ModelDir to a folder created by `modelscope download`, or set "
            "ModelHub = huggingface.",
        )
    from modelscope import snapshot_download

    try:
        folder = Path(snapshot_download(model, local_files_only=True))
    except Exception:  # the exception differs between versions of the package
        return None
    return folder if (folder / "config.json").is_file() else None


def _from_modelscope(model: str, patterns: list[str]) -> Path:
    from modelscope import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=patterns))
    except Exception as error:
        raise _out_of_reach("modelscope", model) from error


def _out_of_reach(hub: Hub, model: str) -> UnavailableError:
    return UnavailableError(
        f"The model {model} is not on this machine and cannot be downloaded from {_TITLES[hub]}.",
        "Check the name (Model and ModelHub in [QwenVL]) and the network, or set ModelDir to a folder with the "
        "checkpoint.",
    )
