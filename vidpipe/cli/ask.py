"""vidpipe ask: one question about one video, or many, answered now by the describing model."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidpipe.cli.call import Opened, opened
from vidpipe.cli.interrupt import stoppable
from vidpipe.cli.options import Json
from vidpipe.cli.output import answered, counted, duration, err, note, out, print_json, say, words
from vidpipe.cli.selecting import All, Where, chosen_videos
from vidpipe.errors import SettingsError, UnavailableError, VidpipeError

if TYPE_CHECKING:
    from vidpipe.library.runs import Figures
    from vidpipe.runner.plan import DescribingStages
    from vidpipe.stages.asking import VideoAnswers
    from vidpipe.stages.contract import AnswerCell, Item, ModelTokens, StageContext
    from vidpipe.vlm.questions import Question

_BATCH = 16


class Kind(StrEnum):
    text = "text"
    yes_no = "yes_no"
    choice = "choice"
    number = "number"


def ask(
    context: typer.Context,
    given: Annotated[
        list[str], typer.Argument(metavar="[VIDEO]... QUESTION", help="Hash prefixes, URLs or file names; a question.")
    ],
    *,
    every: All = False,
    where: Where = None,
    scenes: Annotated[bool, typer.Option("--scenes", help="Ask about each scene, not about the whole video.")] = False,
    kind: Annotated[Kind | None, typer.Option("--kind", help="What the answer must be. Default: text.")] = None,
    choice: Annotated[
        list[str] | None, typer.Option("--choice", help="One of the answers to choose from; several. Kind: choice.")
    ] = None,
    save: Annotated[
        bool, typer.Option("--save", help="Keep it in questions.json: `vidpipe run` asks it of every video.")
    ] = False,
    name: Annotated[str | None, typer.Option("--id", help="Its id there. Default: from its words.")] = None,
    as_json: Json = False,
) -> None:
    """Ask the describing model a question about videos, and get the answers now.

    Answers are kept: the same question costs nothing the next time, also with --save afterwards.

    Example: vidpipe ask clip.mp4 "Is there a person in it?" --kind yes_no
    """
    from vidpipe.cli.running import finish
    from vidpipe.runner.plan import DescribingStages
    from vidpipe.vlm.questions import add_question, new_question

    *videos, text = given
    question = new_question(
        text,
        kind=(kind or (Kind.choice if choice else Kind.text)).value,
        scope="scene" if scenes else "video",
        choices=choice or (),
        id=name or "",
    )
    with opened(context) as library:
        fault = library.plan.unavailable.get("descriptions")
        if fault:
            raise fault
        describing = DescribingStages.of(library.plan)
        if describing is None:
            raise UnavailableError(
                "Nobody is there to ask: Backend is statistics, which only measures.",
                "Set Backend = qwen or endpoint in [QwenVL] of config.ini; docs/model.md says what each needs.",
            )
        ids = chosen_videos(library, videos, every=every, where=where or ())
        if save:
            path = library.settings.resolve(library.settings.rules.questions)
            add_question(path, question)
            kept_in = library.settings.rules.questions
            note(f"Kept as '{question.id}' in {kept_in}; `vidpipe run` asks it of every video.")
        result = stoppable(lambda cancelled: _asked(library, describing, ids, question, cancelled, as_json=as_json))
    if as_json:
        print_json({"question": question.text, "id": question.id, "kind": question.kind, **result})
    if result["interrupted"]:
        note("Stopped. The answers given are kept.", "yellow")
        finish(130)
    finish(1 if result["failed"] else 0)


def _asked(
    opened: Opened,
    describing: DescribingStages,
    ids: Sequence[str],
    question: Question,
    cancelled: threading.Event,
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Asks, and keeps the figures of it as those of a run: the budget and the rates go by them."""
    from vidpipe.library.runs import RunName, recorded
    from vidpipe.stages.contract import StageContext

    if not ids:
        return {"answers": [], "failed": [], "interrupted": False}
    run = f"ask-{uuid.uuid4().hex}"
    with recorded(opened.library.collections["runs"], RunName(run, "ask", "command", "ask")) as figures:
        figures.asks(describing.model.name, describing.names)
        clock = _Clock(figures, describing.names[0])
        context = StageContext(opened.settings, opened.plan.resources, opened.library.cells(run), cancelled)
        result = _ask(opened, context, clock, ids, question, as_json=as_json)
        figures.stopped = cancelled.is_set()
    return result


class _Clock:
    """Counts what the model does for a question, and the time since it was started or counted last."""

    def __init__(self, figures: Figures, stage: str) -> None:
        self._figures, self._stage = figures, stage
        self.start()

    def start(self) -> None:
        self._began = time.perf_counter()

    def count(self, used: ModelTokens) -> None:
        now = time.perf_counter()
        self._figures.count_answers(self._stage, used, now - self._began)
        self._began = now


def _ask(
    opened: Opened, context: StageContext, clock: _Clock, ids: Sequence[str], question: Question, *, as_json: bool
) -> dict[str, Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from vidpipe.library.states import chunked
    from vidpipe.stages.asking import ask as ask_model

    # so that the answers can be traced, also where the question is not kept
    source = opened.plan.resources["prompts"].asked(question)
    opened.library.keep_texts({source.template: source.text})
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


def _items(opened: Opened, ids: Sequence[str]) -> Iterator[tuple[str, str, Item | VidpipeError]]:
    """(sha256, name, what is known of it or why it cannot be asked about yet)."""
    from vidpipe.library.videos import projection, read_fields
    from vidpipe.stages.asking import MEASURED, READS, SAID
    from vidpipe.stages.contract import Item

    graph, library = opened.library.graph, opened.library
    found = {row["_id"]: row for row in library.collections["videos"].find(
        {"_id": {"$in": list(ids)}}, projection(graph, (*READS, SAID, MEASURED)))}  # fmt: skip
    scenes = library.videos.scenes(list(found))
    for sha256, row in found.items():
        name = (row["ingest"].get("names") or [sha256[:12]])[0]
        described = (
            row["stages"]["descriptions"].get("status") == "ok"
            and "description" in (scenes.get(sha256) or [{}])[0]
            and not (row.get(graph.key("descriptions")) or {}).get("measured")
        )
        try:
            fields = read_fields(graph, (*READS, SAID) if described else READS, row, scenes.get(sha256, ()))
        except KeyError as missing:
            yield (
                sha256,
                name,
                SettingsError(
                    f"It cannot be asked about yet: {missing.args[0]} is not there.",
                    f"`vidpipe run {sha256[:12]}` makes it.",
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
            line.append_text(words(f"  (not in the form asked for: {cell.fault})", "yellow"))
        say(out(), line)
    if not video.cells:
        note(f"{name}: {counted(0, 'scene')}.")
