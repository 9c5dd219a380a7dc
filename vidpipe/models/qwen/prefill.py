"""Several prompts about the same frames from one prefill.

The common beginning of all prompts of a request (the frames and the text about them) is computed once; each prompt
starts from a copy of its key-value cache. This uses the stock `generate`, with these precautions:

- positions are always passed: the model's `rope_deltas` is hidden state that any other call overwrites;
- positions after the frames continue from that of their end token, which in long clips is not the highest one;
- rows are padded on the left: first the prefixes, then the questions;
- `generate` runs until the longest answer ends, so it is called for a few tokens at a time, and finished rows are
  removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vidpipe.models.describing_model import ModelAnswer
from vidpipe.models.qwen.inputs import PreparedRequest
from vidpipe.models.qwen.loading import LoadedModel

if TYPE_CHECKING:
    import torch

#: A call of `generate` costs about as much as one token, and a finished row as much as a running one.
_TOKENS_PER_CALL = 32


@dataclass(frozen=True)
class Prefix:
    """The computed beginnings of several requests, padded on the left to one length.

    Attributes:
        ids: Token ids, of shape (requests, length).
        mask: Attention mask, of shape (requests, length).
        following: Position of the next token, of shape (requests,).
        cache: The DynamicCache of `length` tokens; answering changes it.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    following: torch.Tensor
    cache: Any


def answer_batch(
    engine: LoadedModel, batch: Sequence[PreparedRequest], tokens_per_call: int = _TOKENS_PER_CALL
) -> list[list[ModelAnswer]]:
    """Return the greedy answers to all prompts of all requests.

    Args:
        engine: The model.
        batch: The requests.
        tokens_per_call: Tokens after which finished rows are removed.

    Raises:
        torch.OutOfMemoryError: The batch does not fit into memory.
    """
    import torch

    with engine.running, torch.inference_mode():
        return _answers(engine, prefill(engine, batch), batch, tokens_per_call)


def prefill(engine: LoadedModel, batch: Sequence[PreparedRequest]) -> Prefix:
    """Compute the beginnings of `batch`."""
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


def _answers(
    engine: LoadedModel, prefix: Prefix, batch: Sequence[PreparedRequest], tokens_per_call: int
) -> list[list[ModelAnswer]]:
    """Answer all prompts together, in rows of [padding, prefix, padding, question]."""
    import torch

    asked = [_Row(request, place) for request, each in enumerate(batch) for place in range(len(each.prompts))]
    tokens = [torch.tensor(batch[row.request].questions[row.place]) for row in asked]
    longest = max(len(question) for question in tokens)
    questions = torch.stack([_left_padded(question, longest, engine.pad_token) for question in tokens])
    question_mask = torch.stack([_left_padded(torch.ones_like(question), longest, 0) for question in tokens])
    of = torch.tensor([row.request for row in asked], device=engine.device)
    prefix.cache.batch_select_indices(of)
    rows = _Rows(
        asked,
        ids=torch.cat([prefix.ids[of], questions.to(engine.device)], dim=1),
        mask=torch.cat([prefix.mask[of], question_mask.to(engine.device)], dim=1),
        ahead=(prefix.following - prefix.mask.sum(dim=1))[of],
        cache=prefix.cache,
    )
    while rows.left:
        _generate(engine, rows, batch, tokens_per_call)
    answers: list[list[ModelAnswer]] = [[] for _ in batch]
    for row in asked:
        each = batch[row.request]
        text = engine.decoder.decode(row.said, skip_special_tokens=True).strip()
        read = len(each.questions[row.place]) + (0 if row.place else len(each.prefix))
        answers[row.request].append(ModelAnswer(each.prompts[row.place], text, len(row.said), read))
    return answers


@dataclass
class _Row:
    """The prompt at position `place` of a request of the batch, and the tokens of its answer so far."""

    request: int
    place: int
    said: list[int] = field(default_factory=list)


@dataclass
class _Rows:
    """The rows whose answers are not finished.

    Attributes:
        left: The rows.
        ids: Token ids, of shape (rows, length).
        mask: Attention mask, of shape (rows, length).
        ahead: Offset of the positions of pictures to those of text, of shape (rows,).
        cache: The key-value cache.
    """

    left: list[_Row]
    ids: torch.Tensor
    mask: torch.Tensor
    ahead: torch.Tensor
    cache: Any


def _generate(engine: LoadedModel, rows: _Rows, batch: Sequence[PreparedRequest], tokens_per_call: int) -> None:
    """Generate the next tokens of all rows, and remove those that are finished."""
    import torch

    counted = _counted(rows.mask)
    # positions of cached tokens are ignored
    shifted = counted + rows.ahead[:, None]
    room = [batch[row.request].prompts[row.place].max_tokens - len(row.said) for row in rows.left]
    ids = engine.model.generate(
        input_ids=rows.ids,
        attention_mask=rows.mask,
        position_ids=torch.stack([counted, shifted, shifted, shifted]),
        past_key_values=rows.cache,
        max_new_tokens=min(tokens_per_call, max(room)),
        do_sample=False, temperature=None, top_p=None, top_k=None,  # what checkpoints set for sampling
        pad_token_id=engine.pad_token,
    )  # fmt: skip
    new = ids[:, rows.ids.shape[1] :]
    keep = []
    for place, (row, more, tokens) in enumerate(zip(rows.left, room, new.tolist(), strict=True)):
        said = _up_to_end(tokens[:more], engine.end_tokens)
        row.said += said
        if len(said) < more and said[-1] not in engine.end_tokens:
            keep.append(place)
    rows.ids, rows.mask = ids, torch.cat([rows.mask, torch.ones_like(new)], dim=1)
    if 0 < len(keep) < len(rows.left):
        chosen = torch.tensor(keep, device=engine.device)
        rows.ids, rows.mask, rows.ahead = rows.ids[chosen], rows.mask[chosen], rows.ahead[chosen]
        rows.cache.batch_select_indices(chosen)
    rows.left = [rows.left[place] for place in keep]


def _counted(mask: torch.Tensor) -> torch.Tensor:
    """Return text positions: 0, 1, 2 … without padding; 0 at padding."""
    return (mask.cumsum(dim=-1) - 1).clamp(min=0) * mask


def _left_padded(values: torch.Tensor, length: int, padding: int) -> torch.Tensor:
    padded = values.new_full((length,), padding)
    padded[length - len(values) :] = values
    return padded


def _up_to_end(tokens: Sequence[int], ends: frozenset[int]) -> list[int]:
    """Return the tokens up to and including the one that ends the answer."""
    end = next((place for place, token in enumerate(tokens) if token in ends), None)
    return list(tokens if end is None else tokens[: end + 1])
