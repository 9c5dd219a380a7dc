"""Several prompts about the same frames from one prefill.

Everything up to the end of the frames is computed once, and its key-value cache kept; each prompt's row starts from a
copy of it. The recipe stands on stock `generate`; what it has to mind:

- positions are always given: the model's `rope_deltas` is hidden state that any other call overwrites;
- what follows the frames counts on from the position of their end token, which for long clips is not the highest one;
- `generate` changes the cache it is given, so it gets copied layers;
- rows are padded on the left: prefixes among one another, then the questions.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vidpipe.vlm.model import Answer
from vidpipe.vlm.qwen.inputs import Prepared
from vidpipe.vlm.qwen.loading import Engine

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Prefix:
    """Prefilled frames of several requests, padded on the left to one length.

    ids, mask: shape (requests, length)
    following: position of what comes next, shape (requests,)
    cache:     the DynamicCache of `length` tokens; not to be given to `generate` itself
    """

    ids: torch.Tensor
    mask: torch.Tensor
    following: torch.Tensor
    cache: Any


def answer_batch(engine: Engine, batch: Sequence[Prepared]) -> list[list[Answer]]:
    """The answers to all prompts of all requests, greedily. Raises torch.OutOfMemoryError."""
    import torch

    with engine.running, torch.inference_mode():
        return _answers(engine, prefill(engine, batch), batch)


def prefill(engine: Engine, batch: Sequence[Prepared]) -> Prefix:
    """Computes the frames of `batch` once."""
    import torch
    from transformers import DynamicCache

    length = max(int(each.prefix.shape[0]) for each in batch)
    ids = torch.stack([_left_padded(each.prefix, length, engine.pad_token) for each in batch]).to(engine.device)
    types = torch.stack([_left_padded(each.prefix_types, length, 0) for each in batch]).to(engine.device)
    mask = torch.stack([_left_padded(torch.ones_like(each.prefix), length, 0) for each in batch]).to(engine.device)
    seen = {name: torch.cat([each.seen[name] for each in batch]).to(engine.device) for name in batch[0].seen}
    grids = {name: value for name, value in seen.items() if not name.startswith("pixel_values")}
    vision, _ = engine.model.model.get_rope_index(ids, mm_token_type_ids=types, attention_mask=mask, **grids)
    cache = DynamicCache(config=engine.model.config.get_text_config(decoder=True))
    engine.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=torch.cat([_counted(mask)[None], vision]),
        mm_token_type_ids=types,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
        **seen,
    )
    return Prefix(ids, mask, vision[0, :, -1] + 1, cache)


def _answers(engine: Engine, prefix: Prefix, batch: Sequence[Prepared]) -> list[list[Answer]]:
    """One generate for all prompts: rows of [padding, frames, padding, question]."""
    import torch

    rows = [(row, place) for row, each in enumerate(batch) for place in range(len(each.prompts))]
    asked = [torch.tensor(batch[row].questions[place]) for row, place in rows]
    longest = max(len(question) for question in asked)
    questions = torch.stack([_left_padded(question, longest, engine.pad_token) for question in asked])
    question_mask = torch.stack([_left_padded(torch.ones_like(question), longest, 0) for question in asked])
    of = torch.tensor([row for row, _ in rows], device=engine.device)
    ids = torch.cat([prefix.ids[of], questions.to(engine.device)], dim=1)
    mask = torch.cat([prefix.mask[of], question_mask.to(engine.device)], dim=1)
    counted = _counted(mask)
    # of the frames' own positions nothing is needed any more: they are in the cache
    shifted = counted + (prefix.following - prefix.mask.sum(dim=1))[of][:, None]
    generated = engine.model.generate(
        input_ids=ids,
        attention_mask=mask,
        position_ids=torch.stack([counted, shifted, shifted, shifted]),
        past_key_values=_forked(prefix.cache, of),
        max_new_tokens=max(prompt.max_tokens for each in batch for prompt in each.prompts),
        do_sample=False, temperature=None, top_p=None, top_k=None,  # what checkpoints set for sampling
        pad_token_id=engine.pad_token,
    )[:, ids.shape[1] :].tolist()  # fmt: skip
    answers: list[list[Answer]] = [[] for _ in batch]
    for (row, place), tokens in zip(rows, generated, strict=True):
        prompt = batch[row].prompts[place]
        said = _up_to_end(tokens[: prompt.max_tokens], engine.end_tokens)
        text = engine.decoder.decode(said, skip_special_tokens=True).strip()
        answers[row].append(Answer(prompt, text, len(said)))
    return answers


def _forked(cache: Any, rows: torch.Tensor) -> Any:
    """A cache with the given rows of `cache`, which stays as it is."""
    fork = copy.copy(cache)
    fork.layers = [copy.copy(layer) for layer in cache.layers]
    fork.batch_select_indices(rows)
    return fork


def _counted(mask: torch.Tensor) -> torch.Tensor:
    """Positions as of text: 0, 1, 2 … over what is not padding; 0 at padding."""
    return (mask.cumsum(dim=-1) - 1).clamp(min=0) * mask


def _left_padded(values: torch.Tensor, length: int, padding: int) -> torch.Tensor:
    padded = values.new_full((length,), padding)
    padded[length - len(values) :] = values
    return padded


def _up_to_end(tokens: Sequence[int], ends: frozenset[int]) -> list[int]:
    """The tokens up to and including the one that ends the answer."""
    end = next((place for place, token in enumerate(tokens) if token in ends), None)
    return list(tokens if end is None else tokens[: end + 1])
