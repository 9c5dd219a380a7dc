"""descriptions: each scene and the whole video, described by the model that is configured.

The model is asked only for answers that are not there yet; each answer is a cell of its own, so that a changed prompt,
a changed scene or another model costs just the answers it concerns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from vidpipe.errors import UnavailableError
from vidpipe.media.facts import AudioStream, Scene, SubtitleStream
from vidpipe.stages.contract import AnswerCell, Cancelled, Item, Outcome, Stage, StageContext, StageError
from vidpipe.stages.results import Descriptions, SceneDescription
from vidpipe.vlm.cells import cell_key
from vidpipe.vlm.model import DescribingModel, Facts, FrameSource, Reply, Request
from vidpipe.vlm.pack_frames import PackFrames
from vidpipe.vlm.prompts import Prompt, PromptSet


@dataclass
class _Work:
    """One video: what is asked about it, and the answers so far."""

    item: Item
    requests: list[Request]
    keys: dict[str, tuple[Request, Prompt]] = field(default_factory=dict)
    cells: dict[str, AnswerCell] = field(default_factory=dict)
    new: list[AnswerCell] = field(default_factory=list)
    waiting: int = 0
    error: StageError | None = None


def describe(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    """Asks the model about the scenes and the whole of each video; a fault of one request is that video's alone."""
    model: DescribingModel = context.resources["model"]
    prompts: PromptSet = context.resources["prompts"]
    works = {item.sha256: _plan(item, context, model, prompts) for item in items}
    known = context.cells.get([key for work in works.values() for key in work.keys]) if context.cells else {}
    missing: list[Request] = []
    for work in works.values():
        work.cells = {key: known[key] for key in work.keys if key in known}
        asked = _missing(work)
        work.waiting = len(asked)
        missing += asked
        if not asked:
            yield _outcome(work, model)
    try:
        for reply in model.answer(missing, context.cancelled) if missing else ():
            work = works[reply.request.video]
            _take(work, reply, model)
            work.waiting -= 1
            context.progress(work.item.sha256, 1 - work.waiting / len(work.requests))
            if work.waiting == 0:
                yield _outcome(work, model)
    except UnavailableError as error:
        for work in works.values():
            if work.waiting:
                unavailable = StageError(error.message, error.hint, transient=True)
                yield Outcome(work.item.sha256, error=unavailable, cells=work.new)
        return
    if any(work.waiting for work in works.values()):
        raise Cancelled


def _plan(item: Item, context: StageContext, model: DescribingModel, prompts: PromptSet) -> _Work:
    requests = [_video_request(item, context, prompts)]
    requests += [_scene_request(item, scene, context, prompts) for scene in item["scenes.scenes"]]
    work = _Work(item, requests)
    for request in requests:
        for prompt in request.prompts:
            work.keys[_key(request, prompt, model)] = (request, prompt)
    return work


def _key(request: Request, prompt: Prompt, model: DescribingModel) -> str:
    return cell_key(
        video=request.video,
        scope=request.scope,
        start_s=request.start_s,
        end_s=request.end_s,
        prompt_hash=prompt.hash,
        model=model.version,
        frames_version=model.basis(request),
    )


def _missing(work: _Work) -> list[Request]:
    """The requests with the prompts that have no answer yet; prompts about the same frames stay together."""
    unanswered: dict[int, list[Prompt]] = {}
    for key, (request, prompt) in work.keys.items():
        if key not in work.cells:
            unanswered.setdefault(id(request), []).append(prompt)
    asked = [request for request in work.requests if id(request) in unanswered]
    return [replace(request, prompts=tuple(unanswered[id(request)])) for request in asked]


def _take(work: _Work, reply: Reply, model: DescribingModel) -> None:
    request = reply.request
    for answer in reply.answers:
        cell = AnswerCell(
            key=_key(request, answer.prompt, model),
            video=request.video,
            scope=request.scope,
            start_s=request.start_s,
            end_s=request.end_s,
            prompt_id=answer.prompt.id,
            prompt_hash=answer.prompt.hash,
            model=model.version,
            frames_version=model.basis(request),
            raw_text=answer.text,
            value=answer.text.strip(),
            tokens=answer.tokens,
        )
        work.cells[cell.key] = cell
        work.new.append(cell)
    if reply.error and not work.error:
        work.error = StageError(reply.error.message, reply.error.hint, transient=reply.transient)


def _outcome(work: _Work, model: DescribingModel) -> Outcome:
    if work.error:
        return Outcome(work.item.sha256, error=work.error, cells=work.new)
    texts: dict[tuple[str, float, float], str] = {}
    for key, (request, prompt) in work.keys.items():
        texts[prompt.id, request.start_s, request.end_s] = str(work.cells[key].value)
    scenes: Sequence[Scene] = work.item["scenes.scenes"]
    result = Descriptions(
        text=next((text for (prompt_id, _, _), text in texts.items() if prompt_id == "describe_video"), ""),
        model=model.name,
        measured=model.measured,
        scenes=tuple(
            SceneDescription(
                index=scene.index,
                description=texts.get(("describe_scene", scene.start_s, scene.end_s), ""),
                described_by=model.name,
            )
            for scene in scenes
        ),
        answers=tuple(work.keys),
    )
    return Outcome(work.item.sha256, result=result, cells=work.new)


def _video_request(item: Item, context: StageContext, prompts: PromptSet) -> Request:
    scenes: Sequence[Scene] = item["scenes.scenes"]
    subtitles: Sequence[SubtitleStream] = item["metadata.subtitles"]
    facts = Facts(
        duration_s=item["scenes.duration_s"],
        scenes=item["scenes.count"],
        cuts_per_minute=item["scenes.cuts_per_minute"],
        stats=item["scenes.stats"],
        orientation=item["metadata.orientation"],
        resolution=item["metadata.resolution"],
        has_sound=_has_sound(item),
        subtitle_languages=tuple(stream.language or "" for stream in subtitles),
        hdr=item["metadata.hdr"],
        scene_stats=tuple((scene.start_s, scene.stats) for scene in scenes),
    )
    frames = _frames(item, context, None)
    return Request(item.sha256, "video", 0.0, item["scenes.duration_s"], prompts.of("video"), facts, frames)


def _scene_request(item: Item, scene: Scene, context: StageContext, prompts: PromptSet) -> Request:
    facts = Facts(
        duration_s=round(scene.end_s - scene.start_s, 6),
        scenes=1,
        cuts_per_minute=0.0,
        stats=scene.stats,
        has_sound=_has_sound(item),
    )
    frames = _frames(item, context, scene.index)
    return Request(item.sha256, "scene", scene.start_s, scene.end_s, prompts.of("scene"), facts, frames)


def _frames(item: Item, context: StageContext, scene: int | None) -> FrameSource | None:
    pack = item["scenes.pack"]
    return PackFrames(context.settings, pack, scene) if pack else None


def _has_sound(item: Item) -> bool:
    audio: Sequence[AudioStream] = item["metadata.audio"]
    return bool(audio)


STAGE = Stage(
    name="descriptions",
    job="describe",
    description="Each scene and the whole video in words, by the describing model.",
    result=Descriptions,
    function=describe,
    reads=(
        "metadata.orientation",
        "metadata.resolution",
        "metadata.hdr",
        "metadata.audio",
        "metadata.subtitles",
        "scenes.scenes",
        "scenes.count",
        "scenes.duration_s",
        "scenes.cuts_per_minute",
        "scenes.stats",
        "scenes.pack",
        "scenes.frames_version",
    ),
    resources=("model", "prompts"),
    stored_as="description",
    pool="gpu",
    batch_size=16,
    kinds=("llm",),
)
