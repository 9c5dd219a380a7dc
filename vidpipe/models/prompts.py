"""What the describing model is asked: prompts rendered from templates, each identified by the hash of its text.

A prompt is rendered completely before the model sees it, after the frames: first what is known of the video, as data,
then the question, then the form of the answer. Prompts about the same frames begin alike, so that this beginning is
computed once.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from types import SimpleNamespace
from typing import Any, TypeVar

from vidpipe.errors import SettingsError
from vidpipe.models.answer_forms import TEXT_FORM, AnswerForm
from vidpipe.models.questions import Question, Scope
from vidpipe.tagging.fields import TEXTS
from vidpipe.text.messages import duration_in_words, quote, sanitize
from vidpipe.text.words import digest

ItemT = TypeVar("ItemT")

Variables = Mapping[str, Any]

DESCRIBE_SCENE = (
    "Describe this scene of a video in two or three plain sentences: who or what is seen, where it is, and what "
    "happens. Name the time of day, the light and the mood where they can be seen. Say only what the pictures show."
)
DESCRIBE_VIDEO = (
    "These pictures are taken from one video, in their order. Describe the whole video in three to five plain "
    "sentences: what it is about, who or what is seen, where, and how it goes on. Say only what the pictures show."
)
#: Characters of a title, of one subtitle and of the description of one scene.
_TITLE, _SUBTITLE, _SAID = 200, 200, 400
#: Characters of all subtitles and of all descriptions of scenes, and how many of them at most.
_SUBTITLES_IN_ALL, _SAID_IN_ALL = 3_000, 8_000
_MAX_SUBTITLES, _MAX_SCENES = 150, 100


def sample_evenly(items: Sequence[ItemT], limit: int) -> list[ItemT]:
    """Return at most `limit` evenly spaced items, including the first and the last; the middle one if `limit` is 1."""
    if len(items) <= limit:
        return list(items)
    if limit == 1:
        return [items[len(items) // 2]]
    return [items[round(index * (len(items) - 1) / (limit - 1))] for index in range(limit)]


def sample_within_budget(items: Sequence[ItemT], limit: int, budget: int, cost: Callable[[ItemT], int]) -> list[ItemT]:
    """Return at most `limit` evenly spaced items whose `cost` is at most `budget` in total."""
    count = min(limit, len(items))
    while count > 0:
        chosen = sample_evenly(items, count)
        total = sum(map(cost, chosen))
        if total <= budget:
            return chosen
        count = min(count - 1, count * budget // total)
    return []


@dataclass(frozen=True)
class SceneView:
    """What is known of one scene.

    Attributes:
        index: Number of the scene, from 0.
        start_s: Its start, in seconds from the first frame.
        end_s: Its end.
        subtitles: What is spoken or shown in it, one line per cue.
        said: How the model described it; "" before it was asked.
        found: Name of the texts of an analysis -> those in it.
    """

    index: int
    start_s: float
    end_s: float
    subtitles: Sequence[str] = ()
    said: str = ""
    found: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class VideoView:
    """What is known of one video.

    Attributes:
        duration_s: Its duration, in seconds.
        title: The title in the file; "" if it has none.
        resolution: Name of the resolution, such as "Full HD".
        orientation: landscape, portrait or square.
        width: Displayed width, in pixels.
        height: Displayed height, in pixels.
        has_sound: Whether there is an audio stream.
        subtitles: Of the whole video, one line per cue.
        scenes: Its scenes, in order.
        found: Name of the texts of an analysis -> those in the whole video.
    """

    duration_s: float
    title: str = ""
    resolution: str = ""
    orientation: str = ""
    width: int = 0
    height: int = 0
    has_sound: bool = False
    subtitles: Sequence[str] = ()
    scenes: Sequence[SceneView] = ()
    found: Mapping[str, Sequence[str]] = field(default_factory=dict)


def template_video(video: VideoView, scene: SceneView | None, evidence: Iterable[str] = TEXTS) -> SimpleNamespace:
    """Return the variable `video` of templates of prompts about `video`, or about its scene `scene`.

    Untrusted texts are in quotation marks; "" if there are none. Prompts about a scene see neither the subtitles and
    evidence of the whole video nor the number of its scenes, so that they do not change with the other scenes.
    """
    lines, scenes = (video.subtitles, video.scenes) if scene is None else ((), ())
    return SimpleNamespace(
        **_found(video.found if scene is None else {}, evidence),
        title=quote(video.title, _TITLE),
        duration=duration_in_words(video.duration_s),
        duration_s=round(video.duration_s, 3),
        size=f"{video.width}x{video.height}" if video.width and video.height else "",
        resolution=video.resolution,
        orientation=video.orientation,
        has_sound=video.has_sound,
        subtitles=_subtitles(lines),
        subtitle_count=len(lines),
        scene_count=len(scenes),
    )


def template_scene(scene: SceneView, evidence: Iterable[str] = TEXTS) -> SimpleNamespace:
    """Return the variable `scene`, or one of `scenes`, of templates; untrusted texts are in quotation marks."""
    return SimpleNamespace(
        **_found(scene.found, evidence),
        start=clock(scene.start_s),
        end=clock(scene.end_s),
        start_s=round(scene.start_s, 3),
        end_s=round(scene.end_s, 3),
        duration=duration_in_words(scene.end_s - scene.start_s),
        said=quote(scene.said, _SAID),
        subtitles=_subtitles(scene.subtitles),
        subtitle_count=len(scene.subtitles),
    )


def template_scenes(scenes: Sequence[SceneView], evidence: Iterable[str] = TEXTS) -> list[SimpleNamespace]:
    """Return the scenes of a whole video, without subtitles and evidence; an even sample if there are too many."""
    few = sample_within_budget(scenes, _MAX_SCENES, _SAID_IN_ALL, lambda scene: min(len(scene.said), _SAID))
    return [template_scene(replace(scene, subtitles=(), found={}), evidence) for scene in few]


def _found(found: Mapping[str, Sequence[str]], evidence: Iterable[str]) -> dict[str, list[str]]:
    """Return the texts of each analysis, sampled like subtitles; no texts if it is disabled or found none."""
    return {name: _subtitles(found.get(name, ())) for name in evidence}


def _subtitles(lines: Sequence[str]) -> list[str]:
    """Sample subtitles. Lines repeated at once count once: many formats repeat what is still on the screen."""
    few = sample_within_budget(lines, _MAX_SUBTITLES, _SUBTITLES_IN_ALL, lambda line: len(quote(line, _SUBTITLE)))
    return [line for line, _ in groupby(quote(line, _SUBTITLE) for line in few) if line]


def clock(seconds: float) -> str:
    """Return a time as on a clock: 0:07.5, 12:31.0, 1:02:03."""
    tenths = round(seconds * 10)
    hours, minutes, rest = tenths // 36_000, tenths // 600 % 60, tenths % 600
    if hours:
        return f"{hours}:{minutes:02d}:{rest // 10:02d}"
    return f"{minutes}:{rest // 10:02d}.{rest % 10}"


_FOUND = dict.fromkeys(TEXTS, ("Good evening.",))
_RICH_SCENES = (
    SceneView(0, 0.0, 4.5, ("Good evening.", "Here is the news."), "A woman sits at a desk in a studio.", _FOUND),
    SceneView(1, 4.5, 12.0, ("It rained all day.",), "A street in the rain."),
)
_RICH = VideoView(
    12.0, "Evening news", "HD", "landscape", 1280, 720, True, ("Good evening.", "It rained all day."), _RICH_SCENES,
    _FOUND,
)  # fmt: skip
_BARE_SCENE = SceneView(0, 0.0, 0.5)
_BARE = VideoView(0.5, scenes=(_BARE_SCENE,))

#: (video, one of its scenes) for which every template is rendered before a run: one with everything, one with nothing.
SAMPLE_VIEWS = ((_RICH, _RICH_SCENES[0]), (_BARE, _BARE_SCENE))

#: Variable of a template -> its fields.
TEMPLATE_FIELDS = {
    "video": tuple(vars(template_video(_BARE, None))),
    "scene": tuple(vars(template_scene(_BARE_SCENE))),
}


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
        source_of: Returns the source of a question; None if the model answers none.
        evidence: Names of the texts of analyses that templates may use.
    """

    sources: tuple[PromptSource, ...]
    questions: tuple[Question, ...] = ()
    source_of: Callable[[Question], PromptSource] | None = field(default=None, repr=False, compare=False)
    evidence: tuple[str, ...] = TEXTS

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
        variables = self._variables(video, scene)
        return tuple(source.prompt(variables) for source in self.sources if source.scope == "scene")

    def of_video(self, video: VideoView) -> tuple[Prompt, ...]:
        """Return describe_video, sentiment, tags, category and summary, then the questions about videos.

        They contain the descriptions of the scenes.
        """
        variables = self._variables(video, None)
        return tuple(source.prompt(variables) for source in self.sources if source.scope == "video")

    def of_question(self, question: Question, video: VideoView, scene: SceneView | None) -> Prompt:
        """Return `question`, which need not be among `questions`, about a scene or (None) the whole video.

        Raises:
            SettingsError: The model answers no questions.
        """
        if self.source_of is None:
            raise SettingsError(
                "Backend statistics answers no questions: it does not look at the pictures.",
                "Set Backend = qwen or endpoint (section [QwenVL] of config.ini, or VIDPIPE_QWENVL_BACKEND).",
            )
        scope: Scope = "scene" if scene else "video"
        return self.source_of(replace(question, scope=scope)).prompt(self._variables(video, scene))

    def _variables(self, video: VideoView, scene: SceneView | None) -> Variables:
        return {
            "video": template_video(video, scene, self.evidence),
            "scene": template_scene(scene, self.evidence) if scene else None,
            "scenes": [] if scene else template_scenes(video.scenes, self.evidence),
        }
