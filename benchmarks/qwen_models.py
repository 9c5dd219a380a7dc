"""Models to measure with: the tests' tiny one, and random weights in the real sizes, with what they cost to compute."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from vidpipe.models.qwen.inputs import PreparedRequest
from vidpipe.models.qwen.loading import LoadedModel, best_attention

TINY = Path(__file__).parent.parent / "vidpipe_tests" / "models" / "qwen" / "tiny"


@dataclass(frozen=True)
class Shape:
    """A Qwen2-VL as its config.json says; `parameters` in billions, to check it against (None: nothing published)."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    tied: bool
    vision_layers: int = 32
    vision_hidden: int = 1280
    vision_heads: int = 16
    mrope: tuple[int, int, int] = (16, 24, 24)
    parameters: float | None = None


#: 2b, 7b: the text sizes of Qwen2-VL-2B-Instruct and -7B-Instruct; both have the same eyes.
SHAPES = {
    "100m": Shape(768, 2560, 10, 12, 2, 1024, True, 6, 512, 8, mrope=(8, 12, 12)),
    "2b": Shape(1536, 8960, 28, 12, 2, 151936, True, parameters=2.2),
    "7b": Shape(3584, 18944, 28, 28, 4, 152064, False, parameters=8.3),
}


def configuration(shape: Shape, layers: int | None = None) -> Qwen2VLConfig:
    """`shape` with the tiny model's token ids; layers: fewer of them, to try it on a small machine."""
    tiny = Qwen2VLConfig.from_pretrained(TINY)
    text = tiny.text_config.to_dict() | {
        "hidden_size": shape.hidden, "intermediate_size": shape.intermediate,
        "num_hidden_layers": layers or shape.layers, "layer_types": None, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads, "vocab_size": shape.vocabulary, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 32768, "tie_word_embeddings": shape.tied,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": list(shape.mrope)},
    }  # fmt: skip
    vision = {
        "depth": layers or shape.vision_layers, "embed_dim": shape.vision_hidden, "hidden_size": shape.hidden,
        "num_heads": shape.vision_heads, "mlp_ratio": 4,
    }  # fmt: skip
    named = {key: getattr(tiny, key) for key in ("image_token_id", "video_token_id", "vision_start_token_id")}
    return Qwen2VLConfig(
        text_config=text, vision_config=vision, vision_end_token_id=tiny.vision_end_token_id,
        tie_word_embeddings=shape.tied, **named,
    )  # fmt: skip


def parameters(shape: Shape) -> int:
    """Counted without making any."""
    with torch.device("meta"):
        model = Qwen2VLForConditionalGeneration(configuration(shape))
    return sum(parameter.numel() for parameter in model.parameters())


def build(name: str, device: str, dtype: torch.dtype, layers: int | None = None) -> LoadedModel:
    """The tiny checkpoint, or random weights made on `device`, behind the tiny one's tokenizer and processor.

    Only ids that this tokenizer knows are ever generated, and none that ends an answer: all answers are of full length.
    """
    processor = AutoProcessor.from_pretrained(TINY, local_files_only=True)
    attention = best_attention(device)
    if name == "tiny":
        model = Qwen2VLForConditionalGeneration.from_pretrained(
            TINY, local_files_only=True, dtype=dtype, attn_implementation=attention
        ).to(device)
        return LoadedModel(model.eval(), processor, device, str(dtype).removeprefix("torch."), attention)
    torch.manual_seed(1)
    with torch.device(device):
        model = Qwen2VLForConditionalGeneration._from_config(
            configuration(SHAPES[name], layers), dtype=dtype, attn_implementation=attention
        )
    tokenizer = processor.tokenizer
    weights = model.get_output_embeddings().weight.data
    weights[len(tokenizer) :] = 0
    weights[tokenizer.all_special_ids] = 0
    weights[[tokenizer.convert_tokens_to_ids(token) for token in tokenizer.get_added_vocab()]] = 0
    end = tokenizer.eos_token_id
    model.generation_config.update(eos_token_id=end, pad_token_id=tokenizer.pad_token_id)
    return LoadedModel(model.eval(), processor, device, str(dtype).removeprefix("torch."), attention)


@dataclass(frozen=True)
class Work:
    """Multiplications and additions, in FLOP, of one pass over what was read; for whole rows, without padding."""

    vision: float
    text: float

    @property
    def all(self) -> float:
        return self.vision + self.text


def prefill_work(engine: LoadedModel, batch: Sequence[PreparedRequest]) -> Work:
    """Of the prefixes of `batch`: twice the weights for each token, and attention (half of it is masked in text)."""
    model, config = engine.model, engine.model.config
    text, vision = config.text_config, config.vision_config
    eyes = sum(parameter.numel() for parameter in model.model.visual.blocks.parameters())
    patching = sum(parameter.numel() for parameter in model.model.visual.patch_embed.parameters())
    merging = sum(parameter.numel() for parameter in model.model.visual.merger.parameters())
    brain = sum(parameter.numel() for parameter in model.model.language_model.layers.parameters())
    seen = read = 0.0
    for each in batch:
        for frames, height, width in each.seen["video_grid_thw"].tolist():
            patches = frames * height * width
            attention = 4 * patches * height * width * vision.embed_dim * vision.depth  # within a frame
            seen += 2 * (eyes + patching + merging / 4) * patches + attention
        length = len(each.prefix)
        inner = text.num_attention_heads * (text.hidden_size // text.num_attention_heads)
        read += 2 * brain * length + 2 * length**2 * inner * text.num_hidden_layers
    return Work(seen, read)


def peak_flops(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product here and now: the best of several, after a warm-up."""
    side, times, turns = (8192, 10, 8) if device == "cuda" else (1024, 1, 40)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for turn in range(turns):
        synchronize(device)
        began = time.perf_counter()
        for _ in range(times):
            product = left @ right
        synchronize(device)
        if turn:
            best = max(best, times * 2 * side**3 / (time.perf_counter() - began))
    del product
    return best


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def only(request: Any, *places: int) -> Any:
    """`request` with some of its prompts."""
    return replace(request, prompts=tuple(request.prompts[place] for place in places))
