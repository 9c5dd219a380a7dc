"""What the describing model is asked: a few prompts, each named by the hash of its text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from vidpipe.settings import Settings
from vidpipe.vlm.cells import digest
from vidpipe.vlm.forms import TEXT, Form

Scope = Literal["video", "scene"]

DESCRIBE_SCENE = (
    "Describe this scene of a video in two or three plain sentences: who or what is seen, where it is, and what "
    "happens. Name the time of day, the light and the mood where they can be seen. Say only what the pictures show."
)
DESCRIBE_VIDEO = (
    "These pictures are taken from one video, in their order. Describe the whole video in three to five plain "
    "sentences: what it is about, who or what is seen, where, and how it goes on. Say only what the pictures show."
)


@dataclass(frozen=True)
class Prompt:
    """One question to the describing model.

    id:         what it is for: "describe_video"; stable while its text changes
    scope:      asked about each scene, or once about the whole video
    text:       wholly rendered, as the model is given it after the frames
    max_tokens: of the answer
    form:       what the answer is read as
    template:   hash of what the text was rendered from; `PromptSet.texts` has it
    """

    id: str
    scope: Scope
    text: str
    max_tokens: int = 256
    form: Form = TEXT
    template: str = ""

    @cached_property
    def hash(self) -> str:
        """16 hex digits that name what the answer depends on: the text, the form and the length of the answer."""
        return digest(self.text, str(self.max_tokens), self.form.name, json.dumps(self.form.schema, sort_keys=True))


@dataclass(frozen=True)
class PromptSet:
    """The prompts of a run: a resource of the stage `descriptions`."""

    prompts: tuple[Prompt, ...]

    @property
    def version(self) -> str:
        return digest(*(f"{prompt.id} {prompt.scope} {prompt.hash}" for prompt in self.prompts))

    def texts(self) -> Mapping[str, str]:
        return {prompt.hash: prompt.text for prompt in self.prompts}

    def of(self, scope: Scope) -> tuple[Prompt, ...]:
        """The prompts asked about a scene, or about the whole video, in order."""
        return tuple(prompt for prompt in self.prompts if prompt.scope == scope)


def build_prompts(settings: Settings) -> PromptSet:
    """The built-in prompts, each followed by DefaultInstruction of [QwenVL] where one is set."""
    instruction = settings.qwen_vl.default_instruction.strip()

    def asked(text: str) -> str:
        return f"{text}\n\n{instruction}" if instruction else text

    return PromptSet(
        (
            Prompt("describe_video", "video", asked(DESCRIBE_VIDEO), max_tokens=384),
            Prompt("describe_scene", "scene", asked(DESCRIBE_SCENE)),
        )
    )
