"""What the describing model is asked: prompts rendered from templates, each named by the hash of its text.

A prompt is rendered wholly before the model sees it, after the frames: what is known of the video, as data, then the
question, then the form of the answer. Prompts about the same frames begin alike, so that this beginning is worked on
once.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.vlm.answers.forms import TEXT, Form
from vidpipe.vlm.cells import digest
from vidpipe.vlm.plain_text import harmless
from vidpipe.vlm.questions import Question, build_questions
from vidpipe.vlm.templating.shown import shown_scene, shown_scenes, shown_video
from vidpipe.vlm.views import SceneView, VideoView

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


def asked_again(prompt: Prompt, fault: str) -> Prompt:
    """`prompt` for a model whose last answer was not in the form that was asked for. It begins like `prompt`, and says
    what was wrong; fault: the sentence of WrongForm, which may quote the model."""
    again = f"Your last answer could not be used. {harmless(fault, 300)} Answer once more."
    return replace(prompt, text="\n\n".join(filter(None, (prompt.text, again, prompt.form.instruction))))


@dataclass(frozen=True)
class PromptSource:
    """What one prompt is made from, the same for all videos.

    render:   the variables of a video or scene -> text, without the form's instruction
    made_of:  everything that the text depends on besides the video, as JSON
    added:    follows the text
    """

    id: str
    scope: Scope
    max_tokens: int
    form: Form
    render: Callable[[Variables], str] = field(default=lambda variables: "", repr=False, compare=False)
    made_of: str = "{}"
    added: str = ""

    @cached_property
    def text(self) -> str:
        """All that names it, for the lineage."""
        named = {
            "prompt": self.id, "asked about": self.scope, "max_tokens": self.max_tokens, "form": self.form.name,
            "form's instruction": self.form.instruction, "schema": self.form.schema, "added": self.added,
            "made of": json.loads(self.made_of),
        }  # fmt: skip
        return json.dumps({key: value for key, value in named.items() if value}, ensure_ascii=False, indent=1)

    @cached_property
    def template(self) -> str:
        return digest(self.text)

    def prompt(self, variables: Variables) -> Prompt:
        """Raises SettingsError where the template fails."""
        text = "\n\n".join(filter(None, (self.render(variables), self.added, self.form.instruction)))
        return Prompt(self.id, self.scope, text, self.max_tokens, self.form, self.template)


@dataclass(frozen=True)
class PromptSet:
    """The prompts of a run: a resource of the stage `descriptions`.

    sources:   of all prompts, in the order of the asking
    questions: those of [Rules] Questions
    asked:     question -> its source; raises SettingsError where the model answers none
    """

    sources: tuple[PromptSource, ...]
    questions: tuple[Question, ...] = ()
    asked: Callable[[Question], PromptSource] = field(default=lambda question: _unasked(), repr=False, compare=False)

    @cached_property
    def version(self) -> str:
        return digest(*(source.template for source in self.sources))

    def texts(self) -> Mapping[str, str]:
        """hash -> what a prompt is made from: templates, question, keywords, form."""
        return {source.template: source.text for source in self.sources}

    def of_scene(self, video: VideoView, scene: SceneView) -> tuple[Prompt, ...]:
        """describe_scene, then the questions about scenes. They see nothing of the other scenes, so that a cut
        elsewhere changes none of them."""
        variables = _variables(video, scene)
        return tuple(source.prompt(variables) for source in self.sources if source.scope == "scene")

    def of_video(self, video: VideoView) -> tuple[Prompt, ...]:
        """describe_video, sentiment, tags, category, summary, then the questions about videos; they see what was said
        of the scenes."""
        variables = _variables(video, None)
        return tuple(source.prompt(variables) for source in self.sources if source.scope == "video")

    def of_question(self, question: Question, video: VideoView, scene: SceneView | None) -> Prompt:
        """`question` about a scene, or with None about the whole video; it need not be among `questions`.

        Raises SettingsError where the model answers no questions.
        """
        scope: Scope = "scene" if scene else "video"
        return self.asked(replace(question, scope=scope)).prompt(_variables(video, scene))


def build_prompts(settings: Settings) -> PromptSet:
    """The prompts in force. Raises SettingsError, naming file and line, for a template, question or keyword file that
    cannot be used.

    The describer `statistics` reads no prompt; its two are fixed, so that no template makes it repeat itself.
    """
    if settings.qwen_vl.backend == "statistics":
        scene = _fixed("describe_scene", "scene", DESCRIBE_SCENE, 256)
        return PromptSet((scene, _fixed("describe_video", "video", DESCRIBE_VIDEO, 384)))
    from vidpipe.vlm.templating.rendered import rendered_prompts

    return rendered_prompts(settings)


def unread_instructions(settings: Settings) -> str:
    """A sentence about the instructions and questions of `settings` that the describer in force does not read; empty
    where it reads them all."""
    model = settings.qwen_vl
    unread = ["DefaultInstruction (--qwen-instruction)"] if model.default_instruction.strip() else []
    if model.backend != "statistics":
        if unread and not any(name.startswith("describe_") for name in model.prompts):
            return (
                f"{unread[0]} is not used: it is added to describe_scene and describe_video, which Prompts leaves out."
            )
        return ""
    with contextlib.suppress(SettingsError):  # a file that nobody reads stops nobody
        if questions := len(build_questions(settings)):
            unread.append(f"{questions} {'question' if questions == 1 else 'questions'} of {settings.rules.questions}")
    if not unread:
        return ""
    return (
        f"Backend statistics reads no instructions, so {' and '.join(unread)} will have no effect. "
        "Set Backend = qwen or endpoint in [QwenVL] to have a model follow them."
    )


def _fixed(id: str, scope: Scope, text: str, max_tokens: int) -> PromptSource:
    return PromptSource(id, scope, max_tokens, TEXT, lambda variables: text, json.dumps({"text": text}))


def _unasked() -> PromptSource:
    raise SettingsError(
        "Backend statistics answers no questions: it does not look at the pictures.",
        "Set Backend = qwen or endpoint (section [QwenVL] of config.ini, or VIDPIPE_QWENVL_BACKEND).",
    )


def _variables(video: VideoView, scene: SceneView | None) -> Variables:
    return {
        "video": shown_video(video, scene),
        "scene": shown_scene(scene) if scene else None,
        "scenes": [] if scene else shown_scenes(video.scenes),
    }
