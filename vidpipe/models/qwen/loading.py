"""Loads a checkpoint into memory: once per process, and in one process of a home at a time.

The lock between processes belongs to the operating system, so a killed process releases it.
"""

import copy
import gc
import importlib.util
import os
import platform
import threading
from dataclasses import dataclass, field
from typing import Any

from filelock import FileLock, Timeout

from vidpipe.errors import UnavailableError
from vidpipe.models.qwen.checkpoint import Checkpoint
from vidpipe.settings import Settings, notice

_EXTRA = ("torch", "torchvision", "transformers", "accelerate", "qwen_vl_utils")
#: Between attempts to acquire the lock.
_LOCK_POLL_S = 0.5


class ModelLock:
    """The right to hold a model's weights, for one process of a home. Any of its threads may release it."""

    def __init__(self, settings: Settings) -> None:
        # per machine: those that share a home on a network disk have their own GPUs
        self._path = settings.data_directory / "run" / f"model-{platform.node() or 'machine'}.lock"
        self._holder = self._path.with_suffix(".holder")
        self._lock = FileLock(self._path, thread_local=False)

    def take(self, model: str) -> bool:
        """Acquire it; False if another process has it. Raises UnavailableError if it cannot be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._holder.write_text(f"{os.getpid()} {model}", "utf-8")
        except Timeout:
            return False
        except (OSError, NotImplementedError) as error:
            self._lock.release()
            raise UnavailableError(
                f"The lock {self._path} cannot be acquired: {error}.",
                "It prevents two runs from loading the model twice. The folder must be writable and on a local disk.",
            ) from error
        return True

    def free(self) -> None:
        """Release it."""
        self._holder.unlink(missing_ok=True)
        self._lock.release()

    def say_who(self) -> None:
        """Report to the user and the log which process this one waits for."""
        try:
            process, _, model = self._holder.read_text("utf-8").partition(" ")
        except (OSError, ValueError):
            process, model = "", ""
        who = f"process {process} holds it ({model})" if process.isdigit() else "another process holds it"
        notice(f"Waiting for the model: {who}. Only one process at a time can load it.")


@dataclass
class LoadedModel:
    """A loaded model and its processor.

    Attributes:
        model: The model.
        processor: Its processor.
        device: "cuda" or "cpu".
        dtype: Data type of the weights.
        attention: Implementation of attention.
        preparing: Held while the processor is used: tokenizers are not thread-safe.
        running: Held while the model computes.
        decoder: A separate tokenizer, so that answers can be decoded while the next batch is prepared.
    """

    model: Any
    processor: Any
    device: str
    dtype: str
    attention: str
    preparing: threading.Lock = field(default_factory=threading.Lock)
    running: threading.Lock = field(default_factory=threading.Lock)
    decoder: Any = None

    def __post_init__(self) -> None:
        self.decoder = copy.deepcopy(self.processor.tokenizer)

    @property
    def end_tokens(self) -> frozenset[int]:
        """Token ids that end an answer."""
        ends = self.model.generation_config.eos_token_id
        return frozenset(ends if isinstance(ends, list) else [ends])

    @property
    def pad_token(self) -> int:
        """Token id of padding."""
        pad_token = self.decoder.pad_token_id
        return min(self.end_tokens) if pad_token is None else int(pad_token)


@dataclass
class _Held:
    checkpoint: Checkpoint | None = None
    engine: LoadedModel | None = None
    lock: ModelLock | None = None
    users: int = 0


_held = _Held()
_changing = threading.Lock()


def acquire(checkpoint: Checkpoint, settings: Settings, cancelled: threading.Event) -> LoadedModel | None:
    """Return the model of this process, loaded for its first user; each use must end with `release`.

    Waits while another process of this home holds a model.

    Returns:
        None if `cancelled` is set meanwhile.

    Raises:
        UnavailableError: Packages or weights are missing, do not load or do not fit, or this process already uses
            another checkpoint.
    """
    lock = ModelLock(settings)
    said = False
    while not cancelled.is_set():
        with _changing:
            if _held.engine is not None or lock.take(checkpoint.source):
                return _use_model(checkpoint, lock)
        if not said:
            lock.say_who()
            said = True
        cancelled.wait(_LOCK_POLL_S)
    return None


def _use_model(checkpoint: Checkpoint, lock: ModelLock) -> LoadedModel:
    """Count one more use of the model, which is loaded first if necessary; `lock` is held."""
    if _held.engine is None:
        try:
            _held.engine, _held.checkpoint, _held.lock = load(checkpoint), checkpoint, lock
        except BaseException:
            lock.free()
            raise
    elif _held.checkpoint != checkpoint:
        raise UnavailableError(
            f"This process already uses the model {_held.checkpoint.source if _held.checkpoint else ''}; it can "
            "hold only one.",
            "Run the other model afterwards, or in another process.",
        )
    _held.users += 1
    return _held.engine


def release() -> None:
    """End one use. The last one frees the weights and the lock."""
    with _changing:
        _held.users -= 1
        if _held.users:
            return
        _held.engine = _held.checkpoint = None
        free_memory()
        if _held.lock is not None:
            _held.lock.free()
            _held.lock = None


def users() -> int:
    """Return the number of current uses of the model."""
    return _held.users


def free_memory() -> None:
    """Free memory that is no longer referenced, including that of the GPU."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def load(checkpoint: Checkpoint) -> LoadedModel:
    """Load `checkpoint` in bf16 on a GPU, or fp32 on a CPU. Raises UnavailableError."""
    _require_extra()
    source = checkpoint.to_load()
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # it would interfere with the progress bar of the run
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32 if device == "cpu" else torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    attention = best_attention(device)
    here = checkpoint.hub != "huggingface" or checkpoint.folder
    try:
        processor = AutoProcessor.from_pretrained(source, local_files_only=here)
        model = AutoModelForImageTextToText.from_pretrained(
            source,
            local_files_only=here,
            use_safetensors=True,  # unpickling runs code
            dtype=dtype,
            attn_implementation=attention,
            device_map={"": device},
        )
    except torch.OutOfMemoryError as error:
        raise UnavailableError(
            f"The model {checkpoint.source} does not fit into the GPU's memory.",
            "Free the GPU, or use a smaller model (Model = Qwen/Qwen2-VL-2B-Instruct in [QwenVL]).",
        ) from error
    except Exception as error:  # transformers raises anything for a broken checkpoint
        raise UnavailableError(
            f"The model {checkpoint.source} cannot be loaded: {type(error).__name__}: {str(error)[:500]}.",
            "Check Model and ModelDir in [QwenVL]: a complete checkpoint of a Qwen vision-language model is required.",
        ) from error
    if getattr(processor, "video_processor", None) is None:
        raise UnavailableError(
            f"The model {checkpoint.source} does not support video.", "Use Qwen2-VL, Qwen2.5-VL or Qwen3-VL."
        )
    return LoadedModel(model.eval(), processor, device, str(dtype).removeprefix("torch."), attention)


def has_gpu() -> bool:
    """Return whether torch finds a GPU. Raises UnavailableError if packages are missing."""
    _require_extra()
    import torch

    return bool(torch.cuda.is_available())


def device_in_words() -> str:
    """Return the device on which a model would be loaded. Raises UnavailableError if packages are missing."""
    if not has_gpu():
        return "a CPU: torch finds no GPU"
    import torch

    memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
    return f"{torch.cuda.get_device_name(0)}, {memory_gb:.0f} GB, attention {best_attention('cuda')}"


def _require_extra() -> None:
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"Backend qwen requires {', '.join(missing)}, which is not installed.",
            "Install the extra: pip install 'vidpipe[qwen]'.",
        )


def best_attention(device: str) -> str:
    """Return the fastest available implementation of attention."""
    flash = device == "cuda" and importlib.util.find_spec("flash_attn") is not None
    return "flash_attention_2" if flash else "sdpa"
