"""What the describing model is asked: prompts rendered from templates, each identified by the hash of its text.

A prompt is rendered completely before the model sees it, after the frames: first what is known of the video, as data,
then the question, then the form of the answer. Prompts about the same frames begin alike, so that this beginning is
computed once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from vidpipe.errors import SettingsError
from vidpipe.models.answer_keys import digest
from vidpipe.models.answers.form import TEXT_FORM, AnswerForm
from vidpipe.models.prompt_context import SceneView, VideoView, template_scene, template_scenes, template_video
from vidpipe.models.questions import Question
from vidpipe.models.sanitize import sanitize

Scope = Literal["video", "scene"]
Variables = Mapping[str, Any]

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

    Attributes:
        id: What it is for, such as "describe_video"; stable while its text changes.
        scope: Whether it is asked about each scene, or once about the whole video.
        text: The rendered text that follows the frames.
        max_tokens: Token limit of the answer.
        form: How the answer is parsed.
        template: Hash of what the text was rendered from, a key of `PromptSet.texts`.
    """

    id: str
    scope: Scope
    text: str
    max_tokens: int = 256
    form: AnswerForm = TEXT_FORM
    template: str = ""

    @cached_property
    def hash(self) -> str:
        """16 hex digits that identify what the answer depends on: text, form and token limit."""
        return digest(self.text, str(self.max_tokens), self.form.name, json.dumps(self.form.schema, sort_keys=True))


def correction_prompt(prompt: Prompt, fault: str) -> Prompt:
    """Return `prompt` for a model whose last answer did not have the requested form.

    Args:
        prompt: What was asked. The new prompt begins with its text.
        fault: The message of the AnswerFormatError, which may quote the model.
    """
    again = f"Your last answer could not be used. {sanitize(fault, 300)} Answer once more."
    return replace(prompt, text="\n\n".join(filter(None, (prompt.text, again, prompt.form.instruction))))


@dataclass(frozen=True)
class PromptSource:
    """What one prompt is made from, the same for all videos.

    Attributes:
        id: See `Prompt`.
        scope: See `Prompt`.
        max_tokens: See `Prompt`.
        form: See `Prompt`.
        render: Makes the text from the variables of a video or scene, without the form's instruction.
        made_of: Everything that the text depends on besides the video, as JSON.
        added: Follows the text.
    """

    id: str
    scope: Scope
    max_tokens: int
    form: AnswerForm
    render: Callable[[Variables], str] = field(default=lambda variables: "", repr=False, compare=False)
    made_of: str = "{}"
    added: str = ""

    @cached_property
    def text(self) -> str:
        """All that identifies it, for the lineage."""
        named = {
            "prompt": self.id, "asked about": self.scope, "max_tokens": self.max_tokens, "form": self.form.name,
            "form's instruction": self.form.instruction, "schema": self.form.schema, "added": self.added,
            "made of": json.loads(self.made_of),
        }  # fmt: skip
        return json.dumps({key: value for key, value in named.items() if value}, ensure_ascii=False, indent=1)

    @cached_property
    def template(self) -> str:
        """Hash of `text`."""
        return digest(self.text)

    def prompt(self, variables: Variables) -> Prompt:
        """Return the rendered prompt. Raises SettingsError if the template fails."""
        text = "\n\n".join(filter(None, (self.render(variables), self.added, self.form.instruction)))
        return Prompt(self.id, self.scope, text, self.max_tokens, self.form, self.template)


@dataclass(frozen=True)
class PromptSet:
    """The prompts of a run: a resource of the stage `descriptions`.

    Attributes:
        sources: Sources of all prompts, in the order in which they are asked.
        questions: The questions of [Rules] Questions.
        source_of: Returns the source of a question; raises SettingsError if the model answers none.
    """

    sources: tuple[PromptSource, ...]
    questions: tuple[Question, ...] = ()
    source_of: Callable[[Question], PromptSource] = field(
        default=lambda question: _no_questions(), repr=False, compare=False
    )

    @cached_property
    def version(self) -> str:
        """Hash of all sources."""
        return digest(*(source.template for source in self.sources))

    def texts(self) -> Mapping[str, str]:
        """Return what each prompt is made from (templates, question, keywords, form) by its hash."""
        return {source.template: source.text for source in self.sources}

    def of_scene(self, video: VideoView, scene: SceneView) -> tuple[Prompt, ...]:
        """Return describe_scene, then the questions about scenes.

        They contain nothing about other scenes, so that a cut elsewhere does not change them.
        """
        variables = _variables(video, scene)
        return tuple(source.prompt(variables) for source in self.sources if source.scope == "scene")

    def of_video(self, video: VideoView) -> tuple[Prompt, ...]:
        """Return describe_video, sentiment, tags, category and summary, then the questions about videos.

        They contain the descriptions of the scenes.
        """
        variables = _variables(video, None)
        return tuple(source.prompt(variables) for source in self.sources if source.scope == "video")

    def of_question(self, question: Question, video: VideoView, scene: SceneView | None) -> Prompt:
        """Return `question`, which need not be among `questions`, about a scene or (None) the whole video.

        Raises:
            SettingsError: The model answers no questions.
        """
        scope: Scope = "scene" if scene else "video"
        return self.source_of(replace(question, scope=scope)).prompt(_variables(video, scene))


def _no_questions() -> PromptSource:
    raise SettingsError(
        "Backend statistics answers no questions: it does not look at the pictures.",
        "Set Backend = qwen or endpoint (section [QwenVL] of config.ini, or VIDPIPE_QWENVL_BACKEND).",
    )


def _variables(video: VideoView, scene: SceneView | None) -> Variables:
    return {
        "video": template_video(video, scene),
        "scene": template_scene(scene) if scene else None,
        "scenes": [] if scene else template_scenes(video.scenes),
    }
