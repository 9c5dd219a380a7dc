"""Trains the tiny Qwen2-VL of the tests: python scripts/train_tiny_qwen.py [FOLDER]

A Qwen2VLForConditionalGeneration of a million parameters, from scratch, on synthetic clips: a coloured square on a
dark background ("A red square."), or a plain colour ("A red picture."). It answers the project's prompts in the
required form by what it sees (tiny_qwen_lessons.py), anything else with that sentence. Takes 10 minutes on two idle
cores. The output is a regular checkpoint: config, safetensors, tokenizer, processors, chat template.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tiny_qwen_lessons import COLORS, PLAIN, THINGS, Lessons, draw_clip, sentence
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

TARGET = Path(__file__).parent.parent / "vidpipe_tests" / "models" / "qwen" / "tiny"
PEAK_LEARNING_RATE = 3e-3
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Part:
    """A part of the training: how many steps of how many clips.

    plain: share of steps with questions in no known form
    whole: the others with all that a prompt says of the video, not the question alone
    """

    steps: int
    clips: int
    plain: float
    whole: bool


PARTS = (Part(200, 12, 1.0, False), Part(450, 16, 0.2, False), Part(300, 10, 0.15, True))
#: Seen at most: 16 tokens a frame, so that tests are quick.
MIN_PIXELS, MAX_PIXELS = 4 * 28 * 28, 16 * 28 * 28
SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' or 'video' in part %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(lessons: Lessons) -> PreTrainedTokenizerFast:
    """A byte-level BPE learnt on the questions and answers, with Qwen's special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    answers = [sentence(color, thing) for color in COLORS for thing in THINGS]
    texts = [*PLAIN, *answers * 20, *lessons.corpus(300), "system user assistant You are a helpful assistant."]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",  # noqa: S106 - no secrets
        pad_token="<|endoftext|>",  # noqa: S106
        padding_side="left",
    )


def build_processor(lessons: Lessons) -> Qwen2VLProcessor:
    size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=build_tokenizer(lessons),
        video_processor=Qwen2VLVideoProcessor(size=size, cap_pixels_per_frame=False),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2VLForConditionalGeneration:
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    end, pad = ids["<|im_end|>"], ids["<|endoftext|>"]
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": pad, "eos_token_id": end, "pad_token_id": pad, "tie_word_embeddings": True,
        },
        vision_config={"depth": 2, "embed_dim": 64, "hidden_size": 128, "num_heads": 4, "mlp_ratio": 2},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = end
    model.generation_config.pad_token_id = pad
    return model


def training_batch(processor: Qwen2VLProcessor, lessons: Lessons, rng: random.Random, part: Part) -> Batch:
    """Clips of one size, each with a question of its own; the loss is that of the answers alone."""
    frames, height, width = rng.choice((1, 2, 4, 4, 6, 8)), 28 * rng.randint(2, 4), 28 * rng.randint(2, 4)
    as_images = rng.random() < 0.2
    frames = min(frames, 4) if as_images else frames
    cuts = part.whole and not as_images and rng.random() < 0.2
    clips = [draw_clip(rng, frames, height, width, cuts=cuts) for _ in range(part.clips)]
    # rows are padded to the longest, so a step has either plain questions or those of the project
    if rng.random() < part.plain:
        pairs = [(lessons.plain(), clip.sentence) for clip in clips]
    else:
        pairs = [lessons.asked(clip, whole=part.whole) for clip in clips]
    sight: list[dict[str, str]] = [{"type": "video"}]
    if as_images:
        timed = rng.random() < 0.7
        texts = [[{"type": "text", "text": f"{time / 2:.2f} s:"}] if timed else [] for time in range(frames)]
        sight = [piece for text in texts for piece in (*text, {"type": "image"})]
    texts = []
    for question, answer in pairs:
        message = {"role": "user", "content": [*sight, {"type": "text", "text": question}]}
        asked = processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        texts.append(f"{asked}{answer}<|im_end|>")
    seen = (
        {"images": [list(clip.frames) for clip in clips]} if as_images else {"videos": [clip.frames for clip in clips]}
    )
    batch = processor(text=texts, padding=True, padding_side="right", return_tensors="pt", **seen)
    labels = torch.full_like(batch["input_ids"], -100)
    for row, (_, said) in enumerate(pairs):
        answer = len(processor.tokenizer(f"{said}<|im_end|>")["input_ids"])
        end = int(batch["attention_mask"][row].sum())
        labels[row, end - answer : end] = batch["input_ids"][row, end - answer : end]
    return {**batch, "labels": labels}


def loss_of(model: Qwen2VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Each answer counts alike, however long it is; what is not an answer costs no logits."""
    labels = batch.pop("labels")
    hidden = model.model(**batch, use_cache=False).last_hidden_state[:, :-1]
    rows, places = (labels[:, 1:] != -100).nonzero(as_tuple=True)
    wanted = labels[:, 1:][rows, places]
    losses = torch.nn.functional.cross_entropy(model.lm_head(hidden[rows, places]), wanted, reduction="none")
    lengths = torch.bincount(rows, minlength=len(labels)).clamp(min=1)
    return (losses / lengths[rows].sqrt()).sum() / len(labels)


def train(folder: Path) -> None:
    """Trains with fixed seeds and writes the checkpoint."""
    torch.manual_seed(1)
    rng = random.Random(1)  # noqa: S311 - pictures, not secrets
    lessons = Lessons(rng)
    processor = build_processor(lessons)
    model = build_model(processor.tokenizer)
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters", flush=True)
    steps = sum(part.steps for part in PARTS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps, pct_start=0.08)
    began = time.monotonic()
    model.train()
    losses: list[float] = []
    for part in itertools.chain.from_iterable([part] * part.steps for part in PARTS):
        loss = loss_of(model, training_batch(processor, lessons, rng, part))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if len(losses) % 20 == 0:
            mean = sum(losses[-20:]) / 20
            print(f"step {len(losses)} of {steps}: loss {mean:.4f}, {time.monotonic() - began:.0f} s", flush=True)
    model.eval()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB")


if __name__ == "__main__":
    train(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
