"""vidpipe ask: ask the describing model a question about videos."""

import threading
from typing import Annotated, Any

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.interrupt import INTERRUPTED, stoppable
from vidpipe.cli.options import Json, Search
from vidpipe.cli.output import answered, counted, duration, note, out, print_json, say, words
from vidpipe.cli.progress import PartsDisplay
from vidpipe.cli.video_selection import All, Where, chosen_videos
from vidpipe.errors import VidpipeError
from vidpipe.models.questions import QuestionKind, add_question, new_question
from vidpipe.runner.asking import Asking, answer_as_json, answering_stages
from vidpipe.stages.model_answers import VideoAnswers


def ask(
    context: typer.Context,
    given: Annotated[
        list[str],
        typer.Argument(metavar="VIDEO|QUESTION", help="Hash prefixes, URLs or file names, and last the question."),
    ],
    *,
    every: All = False,
    where: Where = None,
    search: Search = None,
    scenes: Annotated[bool, typer.Option("--scenes", help="Ask about each scene instead of the whole video.")] = False,
    kind: Annotated[QuestionKind | None, typer.Option("--kind", help="Form of the answer. Default: text.")] = None,
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
) -> int:
    """Ask the describing model a question about videos and print the answers.

    Answers are stored: asking the same question again costs nothing, nor does saving it later with --save.

    Example: vidpipe ask clip.mp4 "Is there a person in it?" --kind yes_no
    """
    *videos, text = given
    question = new_question(
        text,
        kind=kind or ("choice" if choice else "text"),
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
        with PartsDisplay("Asking") as bars:
            display = _AnswerDisplay(bars, len(ids), collect=as_json, by_scene=scenes)

            def work(cancelled: threading.Event) -> bool:
                Asking(opened.library, opened.plan, question, display).ask(ids, cancelled)
                return cancelled.is_set()

            interrupted = stoppable(work, bars.say)
    if as_json:
        about = {"question": question.text, "id": question.id, "kind": question.kind}
        print_json({**about, "answers": display.answers, "failed": display.failed, "interrupted": interrupted})
    if interrupted:
        note("Stopped. Answers received so far are stored.", "yellow")
        return INTERRUPTED
    return 1 if display.failed else 0


class _AnswerDisplay:
    """Shows or collects answers and failures (`vidpipe.runner.asking.AnswerObserver`)."""

    def __init__(self, bars: PartsDisplay, videos: int, *, collect: bool, by_scene: bool) -> None:
        self._bars, self._videos, self._collect, self._by_scene = bars, videos, collect, by_scene
        self._done = 0
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
        self._bars.say(f"{name}: {error}")
        self._advance()

    def _advance(self) -> None:
        self._done += 1
        self._bars.progress("videos", self._done, self._videos)


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
