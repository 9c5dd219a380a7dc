"""The prompts of a model that looks: templates, keywords, categories and questions put together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.tagging.build import build_categories, build_priority_keywords
from vidpipe.tagging.categories import UNCLASSIFIED
from vidpipe.vlm.answers.forms import TEXT, Form
from vidpipe.vlm.answers.object_answers import category_form, sentiment_form, summary_form, tags_form
from vidpipe.vlm.answers.short_answers import question_form
from vidpipe.vlm.plain_text import control_token
from vidpipe.vlm.prompts import PromptSet, PromptSource, Scope
from vidpipe.vlm.questions import Question, build_questions
from vidpipe.vlm.templating.sample_views import SAMPLES
from vidpipe.vlm.templating.templates import Templates, load_templates
from vidpipe.vlm.templating.vocabulary import build_vocabulary

#: Raise it where the code makes another text of the same templates.
_RENDERING = 1
#: prompt -> tokens of its answer
_TOKENS = {"describe_scene": 256, "describe_video": 384, "sentiment": 160, "tags": 320, "category": 160, "summary": 320}
_QUESTION = "question"
_SEEN = ("video", "scene", "scenes")
_MOST_KEYWORDS = 200


@dataclass(frozen=True)
class _Material:
    """What templates are given besides the video."""

    templates: Templates
    language: str
    instruction: str
    keywords: tuple[str, ...]
    vocabulary: tuple[str, ...]
    categories: tuple[str, ...]

    def given(self, name: str) -> dict[str, Any]:
        """The variables of one template that are the same for all videos."""
        given: dict[str, Any] = {"language": self.language}
        if name in ("describe_scene", "describe_video", "tags"):
            given["keywords"] = self.keywords
        if name == "tags":
            given["vocabulary"] = self.vocabulary
        if name == "category":
            given["categories"] = self.categories
        return given

    def form(self, name: str) -> Form:
        """What the answer to the prompt `name` is read as."""
        match name:
            case "sentiment":
                return sentiment_form(self.language)
            case "tags":
                return tags_form(self.vocabulary)
            case "category":
                return category_form(self.categories, self.language)
            case "summary":
                return summary_form(self.language)
        return TEXT

    def templated(self, source: PromptSource, name: str, given: Mapping[str, Any]) -> PromptSource:
        """`source`, rendered from the template `name`. Raises SettingsError where that uses other variables."""
        file = f"{name}.j2"
        used = self.templates.used(file, (*_SEEN, *given))
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


def rendered_prompts(settings: Settings) -> PromptSet:
    """The prompts of [QwenVL] Prompts and the questions of [Rules] Questions, each rendered once for a sample.

    Raises SettingsError for what cannot be used.
    """
    names = settings.qwen_vl.prompts
    material = _material(settings, names)
    questions = build_questions(settings)

    def asked(question: Question) -> PromptSource:
        return _question_source(material, question)

    sources = (*(_source(material, name) for name in names), *map(asked, questions))
    prompts = PromptSet(sources, questions, asked)
    probe = Question("sample", "Is it a sample?", "yes_no")
    for video, scene in SAMPLES:
        prompts.of_scene(video, scene)
        prompts.of_video(video)
        prompts.of_question(probe, video, None)
        prompts.of_question(probe, video, scene)
    return prompts


def _material(settings: Settings, names: tuple[str, ...]) -> _Material:
    templates = load_templates(settings, [f"{name}.j2" for name in (*names, _QUESTION)])
    keywords = build_priority_keywords(settings).keywords
    if len(keywords) > _MOST_KEYWORDS:
        raise SettingsError(
            f"{settings.rules.priority_keywords} has {len(keywords)} keywords; a prompt takes {_MOST_KEYWORDS}.",
            "Keep those that matter most.",
        )
    instruction = settings.qwen_vl.default_instruction.strip()
    if found := control_token(instruction):
        raise SettingsError(f"DefaultInstruction of [QwenVL] holds {found}, which means something else than words.")
    categories = [category.name for category in build_categories(settings).categories if category.name != UNCLASSIFIED]
    return _Material(
        templates,
        settings.qwen_vl.language,
        instruction,
        keywords,
        build_vocabulary(settings),
        (*categories, UNCLASSIFIED),
    )


def _source(material: _Material, name: str) -> PromptSource:
    given = material.given(name)
    added = material.instruction if name.startswith("describe_") else ""
    scope: Scope = "scene" if name == "describe_scene" else "video"
    source = PromptSource(name, scope, _TOKENS[name], material.form(name), added=added)
    return material.templated(source, name, given)


def _question_source(material: _Material, question: Question) -> PromptSource:
    given = material.given(_QUESTION) | {"question": question.text}
    form = question_form(question, material.language)
    source = PromptSource(f"question:{question.id}", question.scope, question.max_tokens, form)
    return material.templated(source, _QUESTION, given)
