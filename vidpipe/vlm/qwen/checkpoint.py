"""The checkpoint that the settings name: where it is, and the version that its answers depend on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidpipe.errors import UnavailableError
from vidpipe.settings import Settings
from vidpipe.vlm.cells import digest

_CONFIG, _INDEX, _SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"
#: What the same weights may differ in from one save to the next.
_UNIMPORTANT = frozenset({"_name_or_path", "transformers_version", "torch_dtype", "dtype"})
_WHOLLY_HASHED_BYTES = 64 * 1024 * 1024
_INSTALL = "Install the extra: pip install 'vidpipe[qwen]'."


@dataclass(frozen=True)
class Checkpoint:
    """source: a folder, or a name on Hugging Face; folder: whether it is the former."""

    source: str
    folder: bool

    @classmethod
    def of(cls, settings: Settings) -> Checkpoint:
        """ModelDir of [QwenVL] where it is set, else Model."""
        if settings.qwen_vl.model_dir:
            return cls(str(settings.resolve(Path(settings.qwen_vl.model_dir).expanduser())), folder=True)
        return cls(settings.qwen_vl.model, folder=False)

    def name(self) -> str:
        """The model's name; a folder's is its architecture and version, since folders are named as one likes."""
        return self.source if not self.folder else f"{self._config().get('model_type')} {self.version()[:8]}"

    def version(self) -> str:
        """16 hex digits of configuration and weights index; where the files lie does not matter.

        A checkpoint of one file has no index: a small file is hashed whole, of a large one the header and the size.
        Raises UnavailableError where files are missing.
        """
        config = {key: value for key, value in self._config().items() if key not in _UNIMPORTANT}
        index = self._find(_INDEX)
        weights = _read_json(index)["weight_map"] if index else self._single_file()
        return digest(json.dumps(config, sort_keys=True), json.dumps(weights, sort_keys=True))

    def check(self) -> None:
        """Raises UnavailableError where a folder is no checkpoint, or lacks some of its weights."""
        self._config()
        if not self.folder:
            return
        index = self._find(_INDEX)
        if index is None:
            self._single_file()
            return
        missing = sorted(
            {name for name in _read_json(index)["weight_map"].values() if not (Path(self.source) / name).is_file()}
        )
        if missing:
            raise UnavailableError(
                f"The checkpoint {self.source} lacks weights: {', '.join(missing[:3])}"
                f"{f' and {len(missing) - 3} more' if len(missing) > 3 else ''}.",
                "Download the whole checkpoint again; nothing of it is fetched by itself where ModelDir is set.",
            )

    def _config(self) -> dict[str, Any]:
        path = self._find(_CONFIG)
        if path is None:
            raise UnavailableError(
                f"{self.source} is no checkpoint: it has no {_CONFIG}.",
                "ModelDir in [QwenVL] is the folder that holds config.json, the tokenizer and *.safetensors, as "
                "`hf download Qwen/Qwen2-VL-7B-Instruct --local-dir FOLDER` (or `modelscope download`) makes it.",
            )
        return _read_json(path)

    def _single_file(self) -> str:
        path = self._find(_SINGLE)
        if path is None:
            raise UnavailableError(
                f"The checkpoint {self.source} has no weights: neither {_INDEX} nor {_SINGLE}.",
                "Weights are read from safetensors only. Download the checkpoint again, *.safetensors included.",
            )
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            if size_bytes <= _WHOLLY_HASHED_BYTES:
                return hashlib.file_digest(file, "sha256").hexdigest()
            header_bytes = int.from_bytes(file.read(8), "little")
            header = file.read(min(header_bytes, _WHOLLY_HASHED_BYTES))
            return f"{hashlib.sha256(header).hexdigest()} {size_bytes}"

    def _find(self, name: str) -> Path | None:
        """The local file of that name, fetched from Hugging Face first where the checkpoint is a name there."""
        if self.folder:
            path = Path(self.source) / name
            return path if path.is_file() else None
        return _fetch(self.source, name)


def _fetch(model: str, name: str) -> Path | None:
    try:
        import huggingface_hub
        from huggingface_hub import errors as hub_errors
    except ImportError as error:
        raise UnavailableError("Backend qwen needs packages that are not installed.", _INSTALL) from error
    kept = huggingface_hub.try_to_load_from_cache(model, name)
    if isinstance(kept, str):
        return Path(kept)
    try:
        return Path(huggingface_hub.hf_hub_download(model, name))
    except hub_errors.LocalEntryNotFoundError as error:
        raise _out_of_reach(model) from error
    except hub_errors.EntryNotFoundError:
        return None
    except (hub_errors.HfHubHTTPError, hub_errors.HFValidationError, OSError) as error:
        raise _out_of_reach(model) from error


def _out_of_reach(model: str) -> UnavailableError:
    return UnavailableError(
        f"The model {model} is not on this machine, and cannot be fetched from Hugging Face.",
        "Check the name (Model in [QwenVL]) and the network, or set ModelDir to a folder with the checkpoint.",
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{path} cannot be read as JSON: {error}.", "Download the checkpoint again.") from error
    if not isinstance(read, dict) or (path.name == _INDEX and not isinstance(read.get("weight_map"), dict)):
        raise UnavailableError(f"{path} does not hold what a checkpoint's {path.name} holds.", "Download it again.")
    return read
