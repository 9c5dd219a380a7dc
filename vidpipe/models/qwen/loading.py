"""One model at a time: a lock that the processes of one home take before they load weights.

It is the operating system's, so a process that was killed holds it no longer.
"""

from __future__ import annotations

import os
import platform
from filelock import FileLock, Timeout
from vidpipe.errors import UnavailableError
from vidpipe.settings import Settings, notice
import copy
import gc
import importlib.util
import threading
from dataclasses import dataclass, field
from typing import Any
from vidpipe.settings import Settings
from vidpipe.vlm.qwen.checkpoint import Checkpoint



class ModelLock:
    """The right to hold a model's weights; one process of a home has it. Any of its threads may free it."""

    def __init__(self, settings: Settings) -> None:
        # by machine: several that share a home on a network disk have a GPU each
        self._path = settings.data_directory / "run" / f"model-{platform.node() or 'machine'}.lock"
        self._holder = self._path.with_suffix(".holder")
        self._lock = FileLock(self._path, thread_local=False)

    def take(self, model: str) -> bool:
        """False where another process has it. Raises UnavailableError where it cannot be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._holder.write_text(f"{os.getpid()} {model}", "utf-8")
        except Timeout:
            return False
        except (OSError, NotImplementedError) as error:
            self._lock.release()
            raise UnavailableError(
                f"The lock {self._path} cannot be taken: {error}.",
                "It keeps two runs from loading the model twice. Make the folder writable, on a disk of this machine.",
            ) from error
        return True

    def free(self) -> None:
        self._holder.unlink(missing_ok=True)
        self._lock.release()

    def say_who(self) -> None:
        """Tells the user, and the log, whom this process waits for."""
        try:
            process, _, model = self._holder.read_text("utf-8").partition(" ")
        except (OSError, ValueError):
            process, model = "", ""
        who = f"process {process} holds it ({model})" if process.isdigit() else "another process holds it"
        notice(f"Waiting for the model: {who}; how long that takes is not known. One process at a time loads it.")


# DOC """A checkpoint in memory: device, dtype and attention chosen; one model a process, shared by all who use it, and one
# process of a home at a time."""
# 


_EXTRA = ("torch", "torchvision", "transformers", "accelerate", "qwen_vl_utils")
#: To take the place of another process.
_BETWEEN_ATTEMPTS_S = 0.5


@dataclass
class Engine:
    """A loaded model and its processor.

    preparing: held while the processor is used: tokenizers are not safe between threads
    running:   held while the model computes
    decoder:   a tokenizer of its own, so that answers are read while the next batch is prepared
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
        """Ids that end an answer."""
        ends = self.model.generation_config.eos_token_id
        return frozenset(ends if isinstance(ends, list) else [ends])

    @property
    def pad_token(self) -> int:
        kept = self.decoder.pad_token_id
        return min(self.end_tokens) if kept is None else int(kept)


@dataclass
class _Held:
    checkpoint: Checkpoint | None = None
    engine: Engine | None = None
    lock: ModelLock | None = None
    users: int = 0


_held = _Held()
_changing = threading.Lock()


def acquire(checkpoint: Checkpoint, settings: Settings, cancelled: threading.Event) -> Engine | None:
    """The process's one model, loaded by its first user. Each call that gives one is matched by one `release`.

    Waits while another process of this home holds a model; None where `cancelled` is set meanwhile. Raises
    UnavailableError where the extra or the weights are missing, where they do not load or fit, or while this process
    uses another checkpoint.
    """
    lock = ModelLock(settings)
    said = False
    while not cancelled.is_set():
        with _changing:
            if _held.engine is not None or lock.take(checkpoint.source):
                return _shared(checkpoint, lock)
        if not said:
            lock.say_who()
            said = True
        cancelled.wait(_BETWEEN_ATTEMPTS_S)
    return None


def _shared(checkpoint: Checkpoint, lock: ModelLock) -> Engine:
    """One more use of the model; where there is none yet it is loaded, under `lock`, which was taken."""
    if _held.engine is None:
        try:
            _held.engine, _held.checkpoint, _held.lock = load(checkpoint), checkpoint, lock
        except BaseException:
            lock.free()
            raise
    elif _held.checkpoint != checkpoint:
        raise UnavailableError(
            f"This process already uses the model {_held.checkpoint.source if _held.checkpoint else ''}; it holds "
            "one at a time.",
            "Run the other model after it, or in a process of its own.",
        )
    _held.users += 1
    return _held.engine


def release() -> None:
    """Ends one use; the last one frees the weights, and lets the next process have its own."""
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
    """How many hold the process's model now."""
    return _held.users


def free_memory() -> None:
    """Gives back what is no longer referenced, on the GPU as well."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def load(checkpoint: Checkpoint) -> Engine:
    """Loads `checkpoint`: bf16 on a GPU, fp32 on a CPU. Raises UnavailableError."""
    _require_extra()
    source = checkpoint.to_load()
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # it would write across the run's own
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32 if device == "cpu" else torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    attention = best_attention(device)
    here = checkpoint.hub != "huggingface" or checkpoint.folder
    try:
        processor = AutoProcessor.from_pretrained(source, local_files_only=here)
        model = AutoModelForImageTextToText.from_pretrained(
            source,
            local_files_only=here,
            use_safetensors=True,  # a pickled checkpoint runs code when it is read
            dtype=dtype,
            attn_implementation=attention,
            device_map={"": device},
        )
    except torch.OutOfMemoryError as error:
        raise UnavailableError(
            f"The model {checkpoint.source} does not fit into the GPU's memory.",
            "Free the GPU, or use a smaller model (Model = Qwen/Qwen2-VL-2B-Instruct in [QwenVL]).",
        ) from error
    except Exception as error:  # transformers raises what it likes for a broken checkpoint
        raise UnavailableError(
            f"The model {checkpoint.source} does not load: {type(error).__name__}: {str(error)[:500]}.",
            "Check Model and ModelDir in [QwenVL], and that the checkpoint is whole and a Qwen vision-language model.",
        ) from error
    if getattr(processor, "video_processor", None) is None:
        raise UnavailableError(f"The model {checkpoint.source} sees no video.", "Use Qwen2-VL, Qwen2.5-VL or Qwen3-VL.")
    return Engine(model.eval(), processor, device, str(dtype).removeprefix("torch."), attention)


def device_in_words() -> str:
    """What a model would be loaded on. Raises UnavailableError where the extra is not installed."""
    _require_extra()
    import torch

    if not torch.cuda.is_available():
        return "a CPU, since torch finds no GPU here"
    memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
    return f"{torch.cuda.get_device_name(0)}, {memory_gb:.0f} GB, attention {best_attention('cuda')}"


def _require_extra() -> None:
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"Backend qwen needs {', '.join(missing)}, which is not installed.",
            "Install the extra: `make qwen`, or pip install 'vidpipe[qwen]'.",
        )


def best_attention(device: str) -> str:
    flash = device == "cuda" and importlib.util.find_spec("flash_attn") is not None
    return "flash_attention_2" if flash else "sdpa"
