"""Qwen2-VL: the usual way (a request at a time, one generate a question) against ours, in one run.

    python -m benchmarks.qwen [--scenes 6] [--frames 8]

On the tiny checkpoint of the tests, and on random weights of about 100 million parameters. Both ways see the same
frames; the usual way is the same code, given one prompt at a time, so that what differs is sharing and batching alone.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from vidpipe.settings import Settings
from vidpipe.settings.schema import QwenVL
from vidpipe.vlm.model import Facts, Frame, Request
from vidpipe.vlm.prompts import DESCRIBE_SCENE, Prompt
from vidpipe.vlm.qwen.backend import QwenModel

TINY = Path(__file__).parent.parent / "vidpipe_tests" / "vlm" / "qwen" / "tiny"
QUESTIONS = (
    DESCRIBE_SCENE, "What is the mood?", "Give tags for this scene.", "Is there a person in it?", "Which category?",
)  # fmt: skip


@dataclass(frozen=True)
class Noise:
    """Frames that no cache knows."""

    frames: Sequence[Frame]
    version: str = "noise"

    def load(self) -> Sequence[Frame]:
        return self.frames


def scenes(count: int, frames: int, side: int, tokens: int) -> list[Request]:
    random = np.random.default_rng(1)
    prompts = tuple(Prompt(f"q{n}", "scene", text, max_tokens=tokens) for n, text in enumerate(QUESTIONS))

    def jpeg() -> bytes:
        small = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        made = io.BytesIO()
        small.resize((side, side)).save(made, "JPEG")
        return made.getvalue()

    facts = Facts(duration_s=4.0, scenes=1, cuts_per_minute=0.0, stats=None)
    return [
        Request(f"{n:064d}", "scene", 0.0, 4.0, prompts, facts, Noise([Frame(t / 2, jpeg()) for t in range(frames)]))
        for n in range(count)
    ]


def make_100m(folder: Path) -> None:
    """Random weights behind the tiny model's tokenizer and processor."""
    torch.manual_seed(1)
    processor = AutoProcessor.from_pretrained(TINY, local_files_only=True)
    config = Qwen2VLConfig.from_pretrained(TINY)
    config.text_config = type(config.text_config)(
        **{
            **config.text_config.to_dict(), "hidden_size": 768, "intermediate_size": 2560, "num_hidden_layers": 10,
            "layer_types": None,
            "num_attention_heads": 12, "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 12, 12]},
        }
    )  # fmt: skip
    config.vision_config = type(config.vision_config)(depth=6, embed_dim=512, hidden_size=768, num_heads=8, mlp_ratio=4)
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def timed(model: QwenModel, rounds: Sequence[Sequence[Request]]) -> tuple[float, int]:
    """(seconds, tokens generated) of the rounds, one `answer` each."""
    began, tokens = time.perf_counter(), 0
    for requests in rounds:
        for reply in model.answer(requests, threading.Event()):
            if reply.error:
                raise reply.error
            tokens += sum(answer.tokens for answer in reply.answers)
    return time.perf_counter() - began, tokens


def compare(name: str, folder: Path, asked: Sequence[Request], max_pixels: int) -> None:
    qwen_vl = QwenVL(backend="qwen", model_dir=str(folder), min_pixels=28 * 28, max_pixels=max_pixels)
    model = QwenModel(Settings(home=Path("/nowhere"), qwen_vl=qwen_vl))
    timed(model, [asked[:1]])  # loads, and warms up
    alone = [[replace(each, prompts=(prompt,))] for each in asked for prompt in each.prompts]
    usual_s, usual_tokens = timed(model, alone)
    first_s, _ = timed(model, [[replace(each, prompts=each.prompts[:1]) for each in asked]])
    ours_s, ours_tokens = timed(model, [asked])
    engine = model._loaded()
    parameters = sum(parameter.numel() for parameter in engine.model.parameters())
    print(f"{name}: {parameters / 1e6:.1f} M parameters, {engine.device}, {engine.dtype}, {engine.attention}")
    print(f"  {len(asked)} scenes of {len(asked[0].prompts)} questions, answers of {ours_tokens} tokens in all")
    for way, seconds, tokens in (("usual way", usual_s, usual_tokens), ("ours", ours_s, ours_tokens)):
        rate = 60 * len(asked) / seconds
        print(f"  {way:<10}{seconds:8.2f} s  {rate:8.1f} scenes/min  {tokens / seconds:6.0f} tokens/s")
    print(
        f"  ours is {usual_s / ours_s:.1f} times as fast; all questions take {ours_s / first_s:.2f} times one",
        flush=True,
    )
    if engine.device == "cuda":
        print(f"  peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    model.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=16, help="of an answer, at most")
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    compare("tiny", TINY, scenes(given.scenes, given.frames, 112, given.tokens), 112 * 112)
    with tempfile.TemporaryDirectory() as folder:
        make_100m(Path(folder))
        compare("random 100M", Path(folder), scenes(given.scenes, given.frames, 224, given.tokens), 224 * 224)


if __name__ == "__main__":
    main()
