"""Builds the prompts of a run from templates, keywords, categories and questions."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vidpipe.errors import SettingsError
from vidpipe.models.answers.form import TEXT_FORM, AnswerForm
from vidpipe.models.answers.object_forms import category_form, sentiment_form, summary_form, tags_form
from vidpipe.models.answers.short_forms import question_form
from vidpipe.models.prompt_context import SAMPLE_VIEWS
from vidpipe.models.prompts import DESCRIBE_SCENE, DESCRIBE_VIDEO, PromptSet, PromptSource, Scope
from vidpipe.models.questions import Question, build_questions
from vidpipe.models.sanitize import find_control_token
from vidpipe.settings import Settings
from vidpipe.tagging.categories import UNCLASSIFIED, build_categories
from vidpipe.tagging.word_lists import build_priority_keywords, build_vocabulary

if TYPE_CHECKING:
    from vidpipe.models.templates import Templates

#: Increased whenever the code makes another text from the same templates.
_RENDERING = 1
#: Prompt -> token limit of its answer.
_TOKENS = {"describe_scene": 256, "describe_video": 384, "sentiment": 160, "tags": 320, "category": 160, "summary": 320}
_QUESTION = "question"
_VIDEO_VARIABLES = ("video", "scene", "scenes")
_MAX_KEYWORDS = 200


@dataclass(frozen=True)
class _TemplateInputs:
    """What templates are given besides the video."""

    templates: Templates
    language: str
    instruction: str
    keywords: tuple[str, ...]
    vocabulary: tuple[str, ...]
    categories: tuple[str, ...]

    def given(self, name: str) -> dict[str, Any]:
        """Return the variables of one template that are the same for all videos."""
        given: dict[str, Any] = {"language": self.language}
        if name in ("describe_scene", "describe_video", "tags"):
            given["keywords"] = self.keywords
        if name == "tags":
            given["vocabulary"] = self.vocabulary
        if name == "category":
            given["categories"] = self.categories
        return given

    def form(self, name: str) -> AnswerForm:
        """Return how the answer to the prompt `name` is parsed."""
        match name:
            case "sentiment":
                return sentiment_form(self.language)
            case "tags":
                return tags_form(self.vocabulary)
            case "category":
                return category_form(self.categories, self.language)
            case "summary":
                return summary_form(self.language)
        return TEXT_FORM

    def templated(self, source: PromptSource, name: str, given: Mapping[str, Any]) -> PromptSource:
        """Return `source` rendered from the template `name`. Raises SettingsError if it uses unknown variables."""
        file = f"{name}.j2"
        used = self.templates.used(file, (*_VIDEO_VARIABLES, *given))
        made_of = {
            "rendering": _RENDERING,
            "templates": self.templates.sources_of(file),
            "given": {variable: value for variable, value in given.items() if variable in used},
        }
        return replace(
            source,
            render=lambda variables: self.templates.render(file, {**variables, **given}),
            made_of=json.dumps(made_of, ensure_ascii=False),
        )


def build_prompts(settings: Settings) -> PromptSet:
    """Return the prompts in force.

    The statistics backend reads no prompts; its two are fixed, so that a changed template does not recompute anything.

    Raises:
        SettingsError: A template, question or keyword file cannot be used; the message names file and line.
    """
    if settings.qwen_vl.backend == "statistics":
        scene = _fixed("describe_scene", "scene", DESCRIBE_SCENE, 256)
        return PromptSet((scene, _fixed("describe_video", "video", DESCRIBE_VIDEO, 384)))
    return template_prompts(settings)


def unread_instructions(settings: Settings) -> str:
    """Return a warning about instructions and questions that the backend in force ignores; "" if there are none."""
    model = settings.qwen_vl
    unread = ["DefaultInstruction (--qwen-instruction)"] if model.default_instruction.strip() else []
    if model.backend != "statistics":
        if unread and not any(name.startswith("describe_") for name in model.prompts):
            return (
                f"{unread[0]} is not used: it is added to describe_scene and describe_video, which Prompts leaves out."
            )
        return ""
    with contextlib.suppress(SettingsError):  # an unused file must not stop a run
        if questions := len(build_questions(settings)):
            unread.append(f"{questions} {'question' if questions == 1 else 'questions'} of {settings.rules.questions}")
    if not unread:
        return ""
    return (
        f"Backend statistics reads no instructions, so {' and '.join(unread)} will have no effect. "
        "Set Backend = qwen or endpoint in [QwenVL] to have a model follow them."
    )


def _fixed(id: str, scope: Scope, text: str, max_tokens: int) -> PromptSource:
    return PromptSource(id, scope, max_tokens, TEXT_FORM, lambda variables: text, json.dumps({"text": text}))


def template_prompts(settings: Settings) -> PromptSet:
    """Return the prompts of [QwenVL] Prompts and the questions of [Rules] Questions, rendered once for a sample.

    Raises:
        SettingsError: Something in them cannot be used.
    """
    names = settings.qwen_vl.prompts
    inputs = _template_inputs(settings, names)
    questions = build_questions(settings)

    def asked(question: Question) -> PromptSource:
        return _question_source(inputs, question)

    sources = (*(_source(inputs, name) for name in names), *map(asked, questions))
    prompts = PromptSet(sources, questions, asked)
    probe = Question("sample", "Is it a sample?", "yes_no")
    for video, scene in SAMPLE_VIEWS:
        prompts.of_scene(video, scene)
        prompts.of_video(video)
        prompts.of_question(probe, video, None)
        prompts.of_question(probe, video, scene)
    return prompts


def _template_inputs(settings: Settings, names: tuple[str, ...]) -> _TemplateInputs:
    from vidpipe.models.templates import load_templates  # brings jinja2, which the statistics backend does not need

    templates = load_templates(settings, [f"{name}.j2" for name in (*names, _QUESTION)])
    keywords = build_priority_keywords(settings).keywords
    if len(keywords) > _MAX_KEYWORDS:
        raise SettingsError(
            f"{settings.rules.priority_keywords} has {len(keywords)} keywords; a prompt takes {_MAX_KEYWORDS}.",
            "Keep those that matter most.",
        )
    instruction = settings.qwen_vl.default_instruction.strip()
    if found := find_control_token(instruction):
        raise SettingsError(f"DefaultInstruction of [QwenVL] contains {found}, a control token of chat models.")
    categories = [category.name for category in build_categories(settings).categories if category.name != UNCLASSIFIED]
    return _TemplateInputs(
        templates,
        settings.qwen_vl.language,
        instruction,
        keywords,
        build_vocabulary(settings),
        (*categories, UNCLASSIFIED),
    )


def _source(inputs: _TemplateInputs, name: str) -> PromptSource:
    given = inputs.given(name)
    added = inputs.instruction if name.startswith("describe_") else ""
    scope: Scope = "scene" if name == "describe_scene" else "video"
    source = PromptSource(name, scope, _TOKENS[name], inputs.form(name), added=added)
    return inputs.templated(source, name, given)


def _question_source(inputs: _TemplateInputs, question: Question) -> PromptSource:
    given = inputs.given(_QUESTION) | {"question": question.text}
    form = question_form(question, inputs.language)
    source = PromptSource(f"question:{question.id}", question.scope, question.max_tokens, form)
    return inputs.templated(source, _QUESTION, given)
