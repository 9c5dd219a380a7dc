"""Asks the describing model a question about videos, and records that as a run."""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vidpipe.errors import SettingsError, UnavailableError, VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.runs import RunCounters, RunStep, record_run
from vidpipe.library.videos import chunked, name_of, projection, read_fields
from vidpipe.models.questions import Question
from vidpipe.runner.plan import DescribingStages, Plan
from vidpipe.stages.contract import AnswerCell, Item, ModelTokens, StageContext
from vidpipe.stages.model_answers import MEASURED, SCENE_DESCRIPTIONS, VideoAnswers, ask_question

_BATCH = 16


class AnswerObserver(Protocol):
    """Follows what is asked. Each video gives one call."""

    def on_answers(self, name: str, video: VideoAnswers) -> None:
        """A video was answered."""

    def on_failure(self, sha256: str, name: str, error: VidpipeError) -> None:
        """A video has no answer."""


def answering_stages(plan: Plan) -> DescribingStages:
    """Return the stages that ask a model.

    Raises:
        VidpipeError: The model cannot be used.
        UnavailableError: No model that answers is configured.
    """
    fault = plan.unavailable.get("descriptions")
    if fault:
        raise fault
    describing = DescribingStages.of(plan)
    if describing is None:
        raise UnavailableError(
            "No answering model is configured: Backend = statistics only measures.",
            "Set Backend = qwen or endpoint in [QwenVL] of config.ini; docs/model.md lists what each requires.",
        )
    return describing


@dataclass(frozen=True)
class Asking:
    """A question about videos.

    Attributes:
        library: The library.
        plan: All stages.
        question: The question.
        observer: Receives answers and failures.
        by: Who asks: command, page.
    """

    library: Library
    plan: Plan
    question: Question
    observer: AnswerObserver
    by: str = "command"

    def ask(self, ids: Sequence[str], cancelled: threading.Event) -> None:
        """Ask until all is answered or `cancelled` is set.

        Token use and time are recorded as those of a run, so that budgets and estimates include them.

        Raises:
            VidpipeError: See `answering_stages`; or the model is out of reach. Answers so far are stored.
        """
        describing = answering_stages(self.plan)
        if not ids:
            return
        run = f"ask-{uuid.uuid4().hex}"
        with record_run(self.library.collections["runs"], RunStep(run, "ask", self.by, "ask")) as figures:
            figures.asks(describing.model.name, describing.names, describing.model.server_use)
            clock = _AnswerClock(figures, describing.names[0])
            plan, cells = self.plan, self.library.cells(run)
            context = StageContext(plan.settings, plan.resources, cells, cancelled, files=self.library.files)
            self._ask(context, clock, ids)
            figures.stopped = cancelled.is_set()

    def _ask(self, context: StageContext, clock: "_AnswerClock", ids: Sequence[str]) -> None:
        # answers stay traceable even if the question is not saved
        source = self.plan.resources["prompts"].source_of(self.question)
        self.library.store_texts({source.template: source.text})
        for chunk in chunked(ids, _BATCH):
            items: list[Item] = []
            names: dict[str, str] = {}
            for sha256, name, item in self._items(chunk):
                names[sha256] = name
                if isinstance(item, VidpipeError):
                    self.observer.on_failure(sha256, name, item)
                else:
                    items.append(item)
            clock.start()
            for video in ask_question(items, self.question, context, clock.count):
                sha256 = video.item.sha256
                if video.error:
                    self.observer.on_failure(sha256, names[sha256], video.error)
                else:
                    self.observer.on_answers(names[sha256], video)
            if context.cancelled.is_set():
                break

    def _items(self, ids: Sequence[str]) -> Iterator[tuple[str, str, Item | VidpipeError]]:
        """Yield (sha256, name, the stage input or the reason it is missing)."""
        graph, library = self.library.graph, self.library
        stage = graph["descriptions"]
        fields = projection(graph, (*stage.all_reads, SCENE_DESCRIPTIONS, MEASURED))
        rows = library.collections["videos"].find({"_id": {"$in": list(ids)}}, fields)
        found = {row["_id"]: row for row in rows}
        scenes = library.videos.scenes(list(found))
        for sha256, row in found.items():
            name = name_of(row)
            described = (
                row["stages"]["descriptions"].get("status") == "ok"
                and "description" in (scenes.get(sha256) or [{}])[0]
                and not (row.get(graph.key("descriptions")) or {}).get("measured")
            )
            try:
                reads = (*stage.all_reads, SCENE_DESCRIPTIONS) if described else stage.all_reads
                values = read_fields(graph, reads, row, scenes.get(sha256, ()), stage.optional_reads)
            except KeyError as missing:
                message = f"It cannot be asked about yet: {missing.args[0]} has not been computed."
                yield sha256, name, SettingsError(message, f"Run `vidpipe run {sha256[:12]}`.")
            else:
                yield sha256, name, Item(sha256, values)


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


def answer_as_json(sha256: str, name: str, cell: AnswerCell) -> dict[str, Any]:
    """Return an answer as JSON values."""
    return {
        "video": sha256, "name": name, "scope": cell.scope, "start_s": cell.start_s, "end_s": cell.end_s,
        "value": cell.value, "raw": cell.raw_text, "fault": cell.fault, "model": cell.model, "cell": cell.key,
    }  # fmt: skip
