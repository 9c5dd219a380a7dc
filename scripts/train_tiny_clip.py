# ruff: noqa: S106, S311 - names of tokens, and pictures
"""Trains the tiny CLIP of the tests: python scripts/train_tiny_clip.py [FOLDER]

It tells squares, circles and triangles in six colours, and pictures of one colour, and knows no other words. Takes a
minute on two idle cores; the checkpoint has 0.15 million parameters.
"""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFilter
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

TARGET = Path(__file__).parent.parent / "vidpipe_tests" / "models" / "clip" / "tiny"
COLORS = {
    "red": (220, 30, 30), "green": (30, 160, 40), "blue": (30, 40, 220),
    "yellow": (230, 220, 40), "white": (240, 240, 240), "purple": (140, 30, 150),
}  # fmt: skip
SHAPES = ("square", "circle", "triangle", "picture")
FRAMES = ("a {}", "{}", "the {}", "a photo of a {}", "a {} in a video")
STEPS = 800
_DRAWN = 30
_SIDE = 32


def draw(color: str, shape: str) -> Image.Image:
    """Draw a shape on black, or a picture of one colour, and compress it as in a frame pack."""
    width, height = random.choice([(160, 120), (160, 90), (120, 160), (96, 96)])
    ink = tuple(min(255, max(0, part + random.randint(-25, 25))) for part in COLORS[color])
    picture = Image.new("RGB", (width, height), ink if shape == "picture" else (random.randint(0, 25),) * 3)
    side = min(width, height) * random.uniform(0.35, 0.75)
    left = width / 2 - side / 2 + random.uniform(-0.1, 0.1) * side
    top = height / 2 - side / 2 + random.uniform(-0.1, 0.1) * side
    pen = ImageDraw.Draw(picture)
    if shape == "square":
        pen.rectangle((left, top, left + side, top + side), fill=ink)
    elif shape == "circle":
        pen.ellipse((left, top, left + side, top + side), fill=ink)
    elif shape == "triangle":
        pen.polygon([(left + side / 2, top), (left, top + side), (left + side, top + side)], fill=ink)
    picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 1)))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return Image.open(buffer).convert("RGB")


def processor() -> CLIPProcessor:
    """Return the preprocessing: a word is a token. CLIPModel takes 2 as the end of a text for a relic."""
    known = sorted({*COLORS, *SHAPES, *" ".join(FRAMES).replace("{}", "").split()})
    words = {word: number for number, word in enumerate(("<pad>", "<start>", "<unk>", "<end>", *known))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<start>", eos_token="<end>", unk_token="<unk>"
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": _SIDE}, crop_size={"height": _SIDE, "width": _SIDE})
    return CLIPProcessor(pictures, fast)


def main() -> None:
    random.seed(1)
    torch.manual_seed(1)
    made = processor()
    layers = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(made.tokenizer), "max_position_embeddings": 16, "eos_token_id": 3, "bos_token_id": 1}
    model = CLIPModel(
        CLIPConfig(
            text_config={**layers, **text, "pad_token_id": 0},
            vision_config={**layers, "image_size": _SIDE, "patch_size": 8},
            projection_dim=32,
        )
    )
    print(f"{sum(one.numel() for one in model.parameters()):,} parameters")
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS)
    pairs = [(color, shape) for color in COLORS for shape in SHAPES]
    drawn = [draw(*pair) for pair in pairs for _ in range(_DRAWN)]
    pixels = made(images=drawn, return_tensors="pt")["pixel_values"].view(len(pairs), _DRAWN, 3, _SIDE, _SIDE)
    written = [frame.format(" ".join(pair)) for pair in pairs for frame in FRAMES]
    texts = made(text=written, return_tensors="pt", padding=True)
    each = torch.arange(len(pairs))
    for step in range(STEPS):
        chosen = each * len(FRAMES) + torch.randint(len(FRAMES), (len(pairs),))
        inputs = {name: values[chosen] for name, values in texts.items()}
        inputs["pixel_values"] = pixels[each, torch.randint(_DRAWN, (len(pairs),))]
        out = model(**inputs, return_loss=True)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            right = (out.logits_per_text.argmax(1) == each).float().mean()
            print(f"step {step + 1}: loss {out.loss:.3f}, {right:.0%} right", flush=True)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    model.half().save_pretrained(folder)
    made.save_pretrained(folder)


if __name__ == "__main__":
    main()
