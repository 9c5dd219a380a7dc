"""vidpipe ask: ask the describing model a question about videos."""

import threading
from collections.abc import Callable, Sequence
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
from vidpipe.errors import VidpipeError
from vidpipe.models.questions import Question, add_question, new_question
from vidpipe.runner.asking import Asking, answer_as_json, answering_stages
from vidpipe.stages.model_answers import VideoAnswers


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
        answering_stages(opened.plan)
        ids = chosen_videos(opened, videos, every=every, where=where or (), search=search)
        if save:
            path = opened.settings.resolve(opened.settings.rules.questions)
            add_question(path, question)
            kept_in = opened.settings.rules.questions
            note(f"Saved as '{question.id}' in {kept_in}; `vidpipe run` asks it about every video.")
        result = stoppable(lambda cancelled: _asked(opened, ids, question, cancelled, as_json=as_json))
    if as_json:
        print_json({"question": question.text, "id": question.id, "kind": question.kind, **result})
    if result["interrupted"]:
        note("Stopped. Answers received so far are stored.", "yellow")
        finish(130)
    finish(1 if result["failed"] else 0)


class _AnswerDisplay:
    """Shows or collects answers and failures (`vidpipe.runner.asking.AnswerObserver`)."""

    def __init__(self, advance: Callable[[], None], *, collect: bool, by_scene: bool) -> None:
        self._advance, self._collect, self._by_scene = advance, collect, by_scene
        self.answers: list[dict[str, Any]] = []
        self.failed: list[dict[str, Any]] = []

    def on_answers(self, name: str, video: VideoAnswers) -> None:
        """Print the answers, or collect them."""
        if self._collect:
            self.answers += [answer_as_json(video.item.sha256, name, cell) for cell in video.cells]
        else:
            _show(name, video, several=self._by_scene)
        self._advance()

    def on_failure(self, sha256: str, name: str, error: VidpipeError) -> None:
        """Print the error."""
        self.failed.append({"video": sha256, "name": name, "message": error.message, "hint": error.hint})
        note(f"{name}: {error}", "red")
        self._advance()


def _asked(
    opened: OpenLibrary, ids: Sequence[str], question: Question, cancelled: threading.Event, *, as_json: bool
) -> dict[str, Any]:
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err(), transient=True, disable=not err().is_terminal) as progress:
        bar = progress.add_task("", total=len(ids))
        by_scene = question.scope == "scene"
        display = _AnswerDisplay(lambda: progress.advance(bar), collect=as_json, by_scene=by_scene)
        Asking(opened.library, opened.plan, question, display).ask(ids, cancelled)
    return {"answers": display.answers, "failed": display.failed, "interrupted": cancelled.is_set()}


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
