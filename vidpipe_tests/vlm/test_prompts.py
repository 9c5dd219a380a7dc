"""Prompts and answer cells are named by what the answers depend on."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe.settings import Settings
from vidpipe.settings.schema import QwenVL
from vidpipe.vlm.build import build_model
from vidpipe.vlm.cells import cell_key, digest
from vidpipe.vlm.prompts import Prompt, build_prompts


def settings(**qwen_vl: object) -> Settings:
    return Settings(home=Path("/nowhere"), qwen_vl=QwenVL.model_validate(qwen_vl))


def test_an_instruction_changes_the_prompts_and_their_version() -> None:
    plain, told = build_prompts(settings()), build_prompts(settings(default_instruction="Name the animals."))
    assert plain.version == build_prompts(settings(default_instruction="  ")).version
    assert plain.version != told.version
    assert all(prompt.text.endswith("Name the animals.") for prompt in told.prompts)
    assert {prompt.hash for prompt in plain.prompts}.isdisjoint(prompt.hash for prompt in told.prompts)
    assert set(told.texts().values()) == {prompt.text for prompt in told.prompts}


def test_where_the_model_lies_is_no_part_of_its_version() -> None:
    assert build_model(settings()).version == build_model(settings(public_endpoint="http://host")).version


def test_a_prompts_id_is_not_part_of_its_hash_but_its_answers_length_is() -> None:
    prompt = Prompt("a", "video", "What is it?")
    assert prompt.hash == Prompt("b", "video", "What is it?").hash
    assert prompt.hash != Prompt("a", "video", "What is it?", max_tokens=8).hash


@pytest.mark.parametrize("changed", ["video", "scope", "start_s", "end_s", "prompt_hash", "model", "frames_version"])
def test_a_cells_key_depends_on_everything(changed: str) -> None:
    named = {
        "video": "a" * 64, "scope": "scene", "start_s": 1.0, "end_s": 2.5,
        "prompt_hash": "p", "model": "m", "frames_version": "f",
    }  # fmt: skip
    other = {**named, changed: 2.0 if changed.endswith("_s") else "video" if changed == "scope" else "b" * 64}
    assert cell_key(**named) != cell_key(**other)  # type: ignore[arg-type]
    assert cell_key(**named) == cell_key(**dict(named))  # type: ignore[arg-type]


def test_parts_that_are_divided_otherwise_differ() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
