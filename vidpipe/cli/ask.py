"""vidpipe ask: ask the describing model a question about videos."""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.interrupt import stoppable
from vidpipe.cli.options import Json, Search
from vidpipe.cli.output import answered, counted, duration, err, note, out, print_json, say, words
from vidpipe.cli.run import finish
from vidpipe.cli.video_selection import All, Where, chosen_videos
from vidpipe.errors import SettingsError, UnavailableError, VidpipeError
from vidpipe.library.runs import RunCounters, RunStep, record_run
from vidpipe.library.videos import chunked, projection, read_fields
from vidpipe.models.questions import Question, add_question, new_question
from vidpipe.runner.plan import DescribingStages
from vidpipe.stages.contract import AnswerCell, Item, ModelTokens, StageContext
from vidpipe.stages.model_answers import MEASURED, SCENE_DESCRIPTIONS, VideoAnswers
from vidpipe.stages.model_answers import ask_question as ask_model

_BATCH = 16


class AnswerKind(StrEnum):
    """The form that an answer must have."""

    text = "text"
    yes_no = "yes_no"
    choice = "choice"
    number = "number"


def ask(
    context: typer.Context,
    given: Annotated[
        list[str],
        typer.Argument(metavar="[VIDEO]... QUESTION", help="Hash prefixes, URLs or file names, then the question."),
    ],
    *,
    every: All = False,
    where: Where = None,
    search: Search = None,
    scenes: Annotated[bool, typer.Option("--scenes", help="Ask about each scene instead of the whole video.")] = False,
    kind: Annotated[AnswerKind | None, typer.Option("--kind", help="Form of the answer. Default: text.")] = None,
    choice: Annotated[
        list[str] | None, typer.Option("--choice", help="A possible answer; repeatable. Implies --kind choice.")
    ] = None,
    save: Annotated[
        bool,
        typer.Option(
            "--save", help="Save the question to questions.json; `vidpipe run` then asks it about every video."
        ),
    ] = False,
    name: Annotated[
        str | None, typer.Option("--id", help="The question's id in questions.json. Default: derived from its words.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask the describing model a question about videos and print the answers.

    Answers are stored: asking the same question again costs nothing, nor does saving it later with --save.

    Example: vidpipe ask clip.mp4 "Is there a person in it?" --kind yes_no
    """
    *videos, text = given
    question = new_question(
        text,
        kind=(kind or (AnswerKind.choice if choice else AnswerKind.text)).value,
        scope="scene" if scenes else "video",
        choices=choice or (),
        id=name or "",
    )
    with open_library(context) as opened:
        fault = opened.plan.unavailable.get("descriptions")
        if fault:
            raise fault
        describing = DescribingStages.of(opened.plan)
        if describing is None:
            raise UnavailableError(
                "No answering model is configured: Backend = statistics only measures.",
                "Set Backend = qwen or endpoint in [QwenVL] of config.ini; docs/model.md lists what each requires.",
            )
        ids = chosen_videos(opened, videos, every=every, where=where or (), search=search)
        if save:
            path = opened.settings.resolve(opened.settings.rules.questions)
            add_question(path, question)
            kept_in = opened.settings.rules.questions
            note(f"Saved as '{question.id}' in {kept_in}; `vidpipe run` asks it about every video.")
        result = stoppable(lambda cancelled: _asked(opened, describing, ids, question, cancelled, as_json=as_json))
    if as_json:
        print_json({"question": question.text, "id": question.id, "kind": question.kind, **result})
    if result["interrupted"]:
        note("Stopped. Answers received so far are stored.", "yellow")
        finish(130)
    finish(1 if result["failed"] else 0)


def _asked(
    opened: OpenLibrary,
    describing: DescribingStages,
    ids: Sequence[str],
    question: Question,
    cancelled: threading.Event,
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Ask, and record token use and time as those of a run, so that budgets and estimates include them."""
    if not ids:
        return {"answers": [], "failed": [], "interrupted": False}
    run = f"ask-{uuid.uuid4().hex}"
    with record_run(opened.library.collections["runs"], RunStep(run, "ask", "command", "ask")) as figures:
        figures.asks(describing.model.name, describing.names)
        clock = _AnswerClock(figures, describing.names[0])
        context = StageContext(opened.settings, opened.plan.resources, opened.library.cells(run), cancelled)
        result = _ask(opened, context, clock, ids, question, as_json=as_json)
        figures.stopped = cancelled.is_set()
    return result


class _AnswerClock:
    """Counts the model's answers, and the time since it was started or last counted."""

    def __init__(self, figures: RunCounters, stage: str) -> None:
        self._figures, self._stage = figures, stage
        self.start()

    def start(self) -> None:
        self._began = time.perf_counter()

    def count(self, used: ModelTokens) -> None:
        now = time.perf_counter()
        self._figures.count_answers(self._stage, used, now - self._began)
        self._began = now


def _ask(
    opened: OpenLibrary,
    context: StageContext,
    clock: _AnswerClock,
    ids: Sequence[str],
    question: Question,
    *,
    as_json: bool,
) -> dict[str, Any]:
    # answers stay traceable even if the question is not saved
    source = opened.plan.resources["prompts"].source_of(question)
    opened.library.store_texts({source.template: source.text})
    answers: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err(), transient=True, disable=not err().is_terminal) as progress:
        bar = progress.add_task("", total=len(ids))

        def lost(sha256: str, error: VidpipeError) -> None:
            failed.append({"video": sha256, "name": names[sha256], "message": error.message, "hint": error.hint})
            note(f"{names[sha256]}: {error}", "red")
            progress.advance(bar)

        for chunk in chunked(ids, _BATCH):
            items = []
            for sha256, name, item in _items(opened, chunk):
                names[sha256] = name
                if isinstance(item, VidpipeError):
                    lost(sha256, item)
                else:
                    items.append(item)
            clock.start()
            for video in ask_model(items, question, context, clock.count):
                sha256 = video.item.sha256
                if video.error:
                    lost(sha256, video.error)
                    continue
                if as_json:
                    answers += [_plain(sha256, names[sha256], cell) for cell in video.cells]
                else:
                    _show(names[sha256], video, several=question.scope == "scene")
                progress.advance(bar)
            if context.cancelled.is_set():
                break
    return {"answers": answers, "failed": failed, "interrupted": context.cancelled.is_set()}


def _items(opened: OpenLibrary, ids: Sequence[str]) -> Iterator[tuple[str, str, Item | VidpipeError]]:
    """Yield (sha256, name, the stage input or the reason it is missing)."""
    graph, library = opened.library.graph, opened.library
    stage = graph["descriptions"]
    found = {row["_id"]: row for row in library.collections["videos"].find(
        {"_id": {"$in": list(ids)}}, projection(graph, (*stage.all_reads, SCENE_DESCRIPTIONS, MEASURED)))}  # fmt: skip
    scenes = library.videos.scenes(list(found))
    for sha256, row in found.items():
        name = (row["ingest"].get("names") or [sha256[:12]])[0]
        described = (
            row["stages"]["descriptions"].get("status") == "ok"
            and "description" in (scenes.get(sha256) or [{}])[0]
            and not (row.get(graph.key("descriptions")) or {}).get("measured")
        )
        try:
            reads = (*stage.all_reads, SCENE_DESCRIPTIONS) if described else stage.all_reads
            fields = read_fields(graph, reads, row, scenes.get(sha256, ()), stage.optional_reads)
        except KeyError as missing:
            yield (
                sha256,
                name,
                SettingsError(
                    f"It cannot be asked about yet: {missing.args[0]} has not been computed.",
                    f"Run `vidpipe run {sha256[:12]}`.",
                ),
            )
        else:
            yield sha256, name, Item(sha256, fields)


def _plain(sha256: str, name: str, cell: AnswerCell) -> dict[str, Any]:
    return {
        "video": sha256, "name": name, "scope": cell.scope, "start_s": cell.start_s, "end_s": cell.end_s,
        "value": cell.value, "raw": cell.raw_text, "fault": cell.fault, "model": cell.model, "cell": cell.key,
    }  # fmt: skip


def _show(name: str, video: VideoAnswers, *, several: bool) -> None:
    for cell in video.cells:
        where = f"{name} {duration(cell.start_s)} – {duration(cell.end_s)}" if several else name
        line = words(f"{where}: ", "dim")
        line.append_text(words(cell.raw_text if cell.fault else answered(cell.value)))
        if cell.fault:
            line.append_text(words(f"  (not in the requested form: {cell.fault})", "yellow"))
        say(out(), line)
    if not video.cells:
        note(f"{name}: {counted(0, 'scene')}.")
