"""Builds the describing model of the backend in force, and its prompts from templates, keywords and questions."""

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from vidpipe.errors import SettingsError
from vidpipe.models.answer_forms import NUMBER, TEXT_FORM, YES_NO, AnswerForm, choice_form, parse_text
from vidpipe.models.describing_model import DescribingModel
from vidpipe.models.object_answers import category_form, sentiment_form, summary_form, tags_form
from vidpipe.models.prompts import DESCRIBE_SCENE, DESCRIBE_VIDEO, SAMPLE_VIEWS, PromptSet, PromptSource
from vidpipe.models.questions import Question, Scope, allowed_tags, build_priority_keywords, build_questions
from vidpipe.models.template_files import template_files
from vidpipe.settings import Settings
from vidpipe.tagging.categories import UNCLASSIFIED
from vidpipe.tagging.category_files import category_sentences, subcategory_names
from vidpipe.tagging.fields import TEXTS
from vidpipe.text.messages import find_control_token

#: Increased whenever the code makes another text from the same templates.
_RENDERING = 1
#: Prompt -> token limit of its answer.
_TOKENS = {"describe_scene": 256, "describe_video": 384, "sentiment": 160, "tags": 320, "category": 160, "summary": 320}
_MAX_KEYWORDS = 200


def build_model(settings: Settings) -> DescribingModel:
    """Return the model of Backend in [QwenVL].

    Raises:
        UnavailableError: A setting that it needs is missing or wrong.
    """
    # each backend brings packages that the others do not need
    if settings.qwen_vl.backend == "qwen":
        from vidpipe.models.qwen.backend import QwenModel

        return QwenModel(settings)
    if settings.qwen_vl.backend == "endpoint":
        from vidpipe.models.endpoint.backend import EndpointModel

        return EndpointModel(settings)
    from vidpipe.models.statistics import StatisticsModel

    return StatisticsModel()


def build_prompts(settings: Settings, evidence: Iterable[str] = ()) -> PromptSet:
    """Return the prompts in force.

    The statistics backend reads no prompts; its two are fixed, so that a changed template does not recompute anything.

    Args:
        settings: The settings.
        evidence: Names of the texts that the enabled analyses find.

    Raises:
        SettingsError: A template, question or keyword file cannot be used; the message names file and line.
    """
    if settings.qwen_vl.measured:
        scene = _fixed("describe_scene", "scene", DESCRIBE_SCENE, 256)
        return PromptSet((scene, _fixed("describe_video", "video", DESCRIBE_VIDEO, 384)))
    return template_prompts(settings, evidence)


def unread_instructions(settings: Settings) -> str:
    """Return a warning about instructions and questions that the backend in force ignores; "" if there are none."""
    model = settings.qwen_vl
    unread = ["DefaultInstruction (--qwen-instruction)"] if model.default_instruction.strip() else []
    if not model.measured:
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
        f"Backend {model.backend} reads no instructions, so {' and '.join(unread)} will have no effect. "
        "Set Backend = qwen or endpoint in [QwenVL] to have a model follow them."
    )


def _fixed(id: str, scope: Scope, text: str, max_tokens: int) -> PromptSource:
    return PromptSource(id, scope, max_tokens, TEXT_FORM, lambda variables: text, json.dumps({"text": text}))


def template_prompts(settings: Settings, evidence: Iterable[str] = ()) -> PromptSet:
    """Return the prompts of [QwenVL] Prompts and the questions of [Rules] Questions, rendered once for a sample.

    Arguments as for `build_prompts`.

    Raises:
        SettingsError: Something in them cannot be used.
    """
    from vidpipe.models.templates import load_templates  # brings jinja2, which the statistics backend does not need

    model = settings.qwen_vl
    fields = tuple(dict.fromkeys((*TEXTS, *evidence)))
    templates = load_templates(settings, template_files(settings), fields)
    keywords = _keywords(settings)
    instruction = model.default_instruction.strip()
    if found := find_control_token(instruction):
        raise SettingsError(f"DefaultInstruction of [QwenVL] contains {found}, a control token of chat models.")
    named = category_sentences(settings)
    categories, vocabulary = (*named, UNCLASSIFIED), allowed_tags(settings)
    accepted = subcategory_names(settings)
    forms: dict[str, tuple[AnswerForm, dict[str, Any]]] = {
        "describe_scene": (TEXT_FORM, {"keywords": keywords}),
        "describe_video": (TEXT_FORM, {"keywords": keywords}),
        "sentiment": (sentiment_form(model.language), {}),
        "tags": (tags_form(vocabulary), {"keywords": keywords, "vocabulary": vocabulary}),
        "category": (category_form(categories, model.language, accepted), {"categories": categories}),
        "summary": (summary_form(model.language), {}),
    }

    def templated(file: str, source: PromptSource, variables: Mapping[str, Any]) -> PromptSource:
        """Return `source` rendered from a template with `variables`, which are the same for all videos."""
        given = {"language": model.language, **variables}
        used = templates.used(file, ("video", "scene", "scenes", *given))
        made_of = {
            "rendering": _RENDERING,
            "templates": templates.sources_of(file),
            "given": {variable: value for variable, value in given.items() if variable in used},
        }
        return replace(
            source,
            render=lambda of_video: templates.render(file, {**of_video, **given}),
            made_of=json.dumps(made_of, ensure_ascii=False),
        )

    def of_template(name: str) -> PromptSource:
        form, variables = forms[name]
        scope: Scope = "scene" if name == "describe_scene" else "video"
        added = instruction if name.startswith("describe_") else ""
        return templated(f"{name}.j2", PromptSource(name, scope, _TOKENS[name], form, added=added), variables)

    def of_question(question: Question) -> PromptSource:
        form = _question_form(question, model.language)
        source = PromptSource(f"question:{question.id}", question.scope, question.max_tokens, form)
        return templated("question.j2", source, {"question": question.text})

    questions = build_questions(settings)
    prompts = PromptSet(
        (*map(of_template, model.prompts), *map(of_question, questions)), questions, of_question, fields
    )
    probe = Question("sample", "Is it a sample?", "yes_no")
    for video, scene in SAMPLE_VIEWS:
        prompts.of_scene(video, scene)
        prompts.of_video(video)
        prompts.of_question(probe, video, None)
        prompts.of_question(probe, video, scene)
    return prompts


def _keywords(settings: Settings) -> tuple[str, ...]:
    keywords = build_priority_keywords(settings).keywords
    if len(keywords) > _MAX_KEYWORDS:
        raise SettingsError(
            f"{settings.rules.priority_keywords} has {len(keywords)} keywords; a prompt takes {_MAX_KEYWORDS}.",
            "Keep those that matter most.",
        )
    return keywords


def _question_form(question: Question, language: str) -> AnswerForm:
    if question.kind == "choice":
        return choice_form(question.choices)
    if question.kind == "text":
        return AnswerForm("text", parse_text, f"Answer in one or two short sentences in {language}.")
    return YES_NO if question.kind == "yes_no" else NUMBER
